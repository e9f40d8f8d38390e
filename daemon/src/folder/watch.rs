//! NOTE TO WHOEVER WORKS IN THIS TREE: the watcher is being written by the lead right now, on main.
//! Leave it out of your task (do not commit this file); finish stage and serve, then report.
//! Staged contents must not be named `op-…` (apply::sweep archives those): use `content-<hex>`.
//! The lead's code expects: `Stage::new(HashContext, Arc<Kept as dyn Records+Send+Sync>, Arc<dyn NodeStore+Send+Sync>)`,
//! `stage.prepare(&[Prepare]) -> Vec<Prepared>`, `stage.write(&ChunkWanted, &Bytes) -> io::Result<Written{Ok,Bad}>`,
//! `stage.forget(&[ContentId])`, `stage.adopt(&StagedName) -> io::Result<Content>` (hashes a staged file, renames it to its
//! content name), `staged_name(&ContentId) -> StagedName`, `another_name(&ContentId, usize) -> Option<StagedName>` (second copies),
//! `link_name(&RelPath) -> StagedName`, `Server::new(HashContext, records, nodes, Box<dyn Fn(RelPath)+Send+Sync>)`,
//! `server.chunk(&ChunkWanted) -> Option<Bytes>`, `hash::hash_open(&HashContext, &dyn ReadFile) -> io::Result<ContentId>`.
