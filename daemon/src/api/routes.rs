//! The paths of the API, and the calls that they stand for.
//!
//! `{folder}` takes all that a person may call a folder: see [`resolve`].

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::control::Control;
use super::error::{ApiError, Class};
use super::resolve::resolve;
use super::settings;
use super::types::*;
use crate::config::KeyPath;

/// The longest body: a path of 4,096 bytes as escaped JSON, and a link, with room to spare.
const MAX_BODY_BYTES: usize = 64 << 10;
/// The longest wait that is not without end: a year.
const MAX_WAIT_SECONDS: f64 = 365.0 * 86_400.0;

/// What every handler needs.
pub struct Api<C> {
    /// Whoever runs the folders.
    pub control: Arc<C>,
    /// Tells the daemon that someone asked it to stop.
    pub stop: Arc<Notify>,
}

impl<C> Clone for Api<C> {
    fn clone(&self) -> Self {
        Self { control: self.control.clone(), stop: self.stop.clone() }
    }
}

type Answer<T> = Result<Json<T>, ApiError>;

/// All routes with their handlers; the tests walk over it too.
pub fn table<C: Control>() -> Vec<(&'static str, MethodRouter<Api<C>>)> {
    vec![
        ("/v1/status", get(status::<C>)),
        ("/v1/doctor", get(doctor::<C>)),
        ("/v1/folders", get(list::<C>).post(add::<C>)),
        ("/v1/folders/{folder}", get(folder_status::<C>).delete(remove::<C>)),
        ("/v1/folders/{folder}/keys", get(keys::<C>)),
        ("/v1/folders/{folder}/peers", get(peers::<C>).post(peer_add::<C>)),
        ("/v1/folders/{folder}/peers/remove", post(peer_remove::<C>)),
        ("/v1/folders/{folder}/problems", get(problems::<C>)),
        ("/v1/folders/{folder}/doctor", get(folder_doctor::<C>)),
        ("/v1/folders/{folder}/pause", post(pause::<C>)),
        ("/v1/folders/{folder}/resume", post(resume::<C>)),
        ("/v1/folders/{folder}/rescan", post(rescan::<C>)),
        ("/v1/folders/{folder}/approve", post(approve::<C>)),
        ("/v1/folders/{folder}/revert", post(revert::<C>)),
        ("/v1/folders/{folder}/archive", get(archive_list::<C>)),
        ("/v1/folders/{folder}/archive/restore", post(archive_restore::<C>)),
        ("/v1/folders/{folder}/wait", post(wait::<C>)),
        ("/v1/config", get(config_get::<C>).put(config_set::<C>)),
        ("/v1/shutdown", post(shutdown::<C>)),
    ]
}

/// The router, without a guard; what the Unix socket serves.
pub fn router<C: Control>(api: Api<C>) -> Router {
    let routes = table::<C>().into_iter();
    routes
        .fold(Router::new(), |router, (path, methods)| router.route(path, methods))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(axum::middleware::map_response(harden))
        .with_state(api)
}

async fn unknown_path() -> ApiError {
    ApiError::new(Class::NotFound, "NO_SUCH_CALL", "the API has no such path")
}

async fn unknown_method() -> Response {
    let error = ApiError::new(Class::Usage, "NO_SUCH_CALL", "the API has no such method on this path");
    (StatusCode::METHOD_NOT_ALLOWED, Json(error.document())).into_response()
}

/// Answers hold secrets and names made by others: nobody keeps them or guesses their type.
async fn harden(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// A JSON body whose refusal is a failure document like any other.
struct Body<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let Json(body) = Json::from_request(request, state).await.map_err(|refused| {
            let class = match refused.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Class::TooLarge,
                _ => Class::Usage,
            };
            ApiError::new(class, "BAD_REQUEST", refused.body_text())
        })?;
        Ok(Self(body))
    }
}

/// A query whose refusal is a failure document.
struct Asked<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::from_request_parts(parts, state).await;
        let Query(asked) =
            query.map_err(|refused| ApiError::new(Class::Usage, "BAD_REQUEST", refused.body_text()))?;
        Ok(Self(asked))
    }
}

/// The folder that the path names, as its full id.
struct Folder(String);

impl<C: Control> FromRequestParts<Api<C>> for Folder {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api<C>) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, api).await;
        let Path(text) =
            path.map_err(|refused| ApiError::new(Class::Usage, "BAD_REQUEST", refused.body_text()))?;
        let rows = api.control.list().await?;
        Ok(Self(resolve(&rows, &text, None)?.folder_id.clone()))
    }
}

async fn status<C: Control>(State(api): State<Api<C>>) -> Answer<Status> {
    api.control.status(None).await.map(Json)
}

async fn list<C: Control>(State(api): State<Api<C>>) -> Answer<Vec<FolderListRow>> {
    api.control.list().await.map(Json)
}

async fn add<C: Control>(State(api): State<Api<C>>, Body(request): Body<AddRequest>) -> Answer<FolderKeys> {
    if !std::path::Path::new(&request.dir).is_absolute() {
        return Err(ApiError::new(Class::Usage, "RELATIVE_PATH", "the directory must be an absolute path"));
    }
    api.control.add(request).await.map(Json)
}

async fn folder_status<C: Control>(State(api): State<Api<C>>, Folder(id): Folder) -> Answer<Status> {
    api.control.status(Some(&id)).await.map(Json)
}

async fn remove<C: Control>(State(api): State<Api<C>>, Folder(id): Folder) -> Answer<()> {
    api.control.remove(&id).await.map(Json)
}

async fn keys<C: Control>(State(api): State<Api<C>>, Folder(id): Folder) -> Answer<FolderKeys> {
    api.control.keys(&id).await.map(Json)
}

async fn peers<C: Control>(State(api): State<Api<C>>, Folder(id): Folder) -> Answer<Vec<PeerRow>> {
    api.control.peers(&id).await.map(Json)
}

async fn peer_add<C: Control>(
    State(api): State<Api<C>>,
    Folder(id): Folder,
    Body(peer): Body<PeerRequest>,
) -> Answer<()> {
    api.control.peer_add(&id, &peer.address).await.map(Json)
}

async fn peer_remove<C: Control>(
    State(api): State<Api<C>>,
    Folder(id): Folder,
    Body(peer): Body<PeerRequest>,
) -> Answer<()> {
    api.control.peer_remove(&id, &peer.address).await.map(Json)
}

async fn problems<C: Control>(State(api): State<Api<C>>, Folder(id): Folder) -> Answer<Vec<Problem>> {
    api.control.problems(&id).await.map(Json)
}

async fn doctor<C: Control>(State(api): State<Api<C>>) -> Answer<Diagnosis> {
    api.control.doctor(None).await.map(Json)
}

async fn folder_doctor<C: Control>(State(api): State<Api<C>>, Folder(id): Folder) -> Answer<Diagnosis> {
    api.control.doctor(Some(&id)).await.map(Json)
}

async fn pause<C: Control>(State(api): State<Api<C>>, Folder(id): Folder) -> Answer<()> {
    api.control.pause(&id).await.map(Json)
}

async fn resume<C: Control>(State(api): State<Api<C>>, Folder(id): Folder) -> Answer<()> {
    api.control.resume(&id).await.map(Json)
}

async fn rescan<C: Control>(State(api): State<Api<C>>, Folder(id): Folder) -> Answer<()> {
    api.control.rescan(&id).await.map(Json)
}

async fn approve<C: Control>(State(api): State<Api<C>>, Folder(id): Folder) -> Answer<()> {
    api.control.approve(&id).await.map(Json)
}

async fn revert<C: Control>(
    State(api): State<Api<C>>,
    Folder(id): Folder,
    Body(request): Body<PathRequest>,
) -> Answer<()> {
    api.control.revert(&id, request.path.as_deref()).await.map(Json)
}

async fn archive_list<C: Control>(
    State(api): State<Api<C>>,
    Folder(id): Folder,
    Asked(request): Asked<PathRequest>,
) -> Answer<Vec<ArchiveRow>> {
    api.control.archive_list(&id, request.path.as_deref()).await.map(Json)
}

async fn archive_restore<C: Control>(
    State(api): State<Api<C>>,
    Folder(id): Folder,
    Body(request): Body<PathRequest>,
) -> Answer<Restored> {
    api.control.archive_restore(&id, request.path.as_deref()).await.map(Json)
}

async fn wait<C: Control>(
    State(api): State<Api<C>>,
    Folder(id): Folder,
    Body(request): Body<WaitRequest>,
) -> Answer<Status> {
    let timeout = match request.timeout {
        None => None,
        Some(seconds) if (0.0..=MAX_WAIT_SECONDS).contains(&seconds) => {
            Some(Duration::from_secs_f64(seconds))
        }
        Some(_) => {
            let message = "the time to wait must be from 0 seconds to a year";
            return Err(ApiError::new(Class::Usage, "BAD_TIMEOUT", message));
        }
    };
    api.control.wait(&id, timeout, request.peers).await.map(Json)
}

/// Which setting.
#[derive(Debug, Deserialize)]
struct ConfigQuery {
    key: Option<String>,
}

async fn config_get<C: Control>(
    State(api): State<Api<C>>,
    Asked(query): Asked<ConfigQuery>,
) -> Answer<Vec<ConfigRow>> {
    settings::rows(&api.control.config().current(), query.key.as_deref()).map(Json)
}

async fn config_set<C: Control>(
    State(api): State<Api<C>>,
    Body(request): Body<ConfigRequest>,
) -> Answer<Vec<ConfigRow>> {
    let key = KeyPath::parse(&request.key)?;
    api.control.config().set(&key, &request.value)?;
    settings::rows(&api.control.config().current(), Some(&request.key)).map(Json)
}

async fn shutdown<C: Control>(State(api): State<Api<C>>) -> Answer<Stopping> {
    api.stop.notify_one();
    Ok(Json(Stopping { pid: std::process::id() }))
}
