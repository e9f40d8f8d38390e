//! How a connection finds its rate: Cubic where the other side is near, [`delivered`] where it is far.
//!
//! On a short path Cubic is fast and takes part of what there is; on a long one each packet that a
//! radio or a router drops costs it most of its rate: a tenth remains of 100 Mbit/s over 50 ms with
//! 0.1 % lost. Which path it is shows with the first round trip, so no earlier connection is needed,
//! and both ends choose for themselves: [`ByDistance`] begins with Cubic and changes over within the
//! handshake. quinn makes a controller anew for each path, so a device that moves is judged anew.

mod delivered;

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use delivered::Delivered;
use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, Cubic, CubicConfig};
use quinn_proto::RttEstimator;

/// Beyond the walls of a house or an office: there loss is more often the radio's or the router's
/// than ours.
const FAR: Duration = Duration::from_millis(10);

/// Makes a [`ByDistance`] for each path.
#[derive(Debug)]
pub(super) struct ByDistanceConfig;

impl ControllerFactory for ByDistanceConfig {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(ByDistance::new(now, mtu))
    }
}

/// One of two controllers, by the shortest round trip that the path has shown.
#[derive(Debug, Clone)]
struct ByDistance {
    way: Way,
    mtu: u16,
    last_sent: u64,
    /// The estimate of the round trip is taken from packets, and no longer the first guess.
    is_measured: bool,
}

#[derive(Debug, Clone)]
enum Way {
    Near(Cubic),
    Far(Box<Delivered>),
}

impl ByDistance {
    fn new(now: Instant, mtu: u16) -> Self {
        let cubic = Cubic::new(Arc::new(CubicConfig::default()), now, mtu);
        Self { way: Way::Near(cubic), mtu, last_sent: 0, is_measured: false }
    }

    fn active(&self) -> &dyn Controller {
        match &self.way {
            Way::Near(cubic) => cubic,
            Way::Far(delivered) => &**delivered,
        }
    }

    fn active_mut(&mut self) -> &mut dyn Controller {
        match &mut self.way {
            Way::Near(cubic) => cubic,
            Way::Far(delivered) => &mut **delivered,
        }
    }

    /// The shortest round trip only ever shrinks: a near path is never taken for a far one later,
    /// however full its queues are.
    fn judge(&mut self, now: Instant, shortest: Duration) {
        match &self.way {
            Way::Near(_) if shortest > FAR => {
                self.way = Way::Far(Box::new(Delivered::new(now, self.mtu, self.last_sent)));
            }
            Way::Far(delivered) if shortest <= FAR => {
                let mut config = CubicConfig::default();
                config.initial_window(delivered.window());
                self.way = Way::Near(Cubic::new(Arc::new(config), now, self.mtu));
            }
            _ => {}
        }
    }
}

impl Controller for ByDistance {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.last_sent = last_packet_number;
        self.active_mut().on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        if self.is_measured {
            self.judge(now, rtt.min());
        }
        self.active_mut().on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        self.active_mut().on_end_acks(now, in_flight, app_limited, largest);
        // quinn takes the sample right after this.
        self.is_measured = true;
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, lost_bytes: u64) {
        self.active_mut().on_congestion_event(now, sent, is_persistent, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu;
        self.active_mut().on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.active().window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.active().metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.active().initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controller() -> (ByDistance, Instant) {
        let now = Instant::now();
        (ByDistance::new(now, 1200), now)
    }

    #[test]
    fn the_first_round_trip_decides() {
        let (mut controller, now) = controller();
        controller.judge(now, Duration::from_millis(2));
        assert!(matches!(controller.way, Way::Near(_)));
        controller.judge(now, Duration::from_millis(50));
        assert!(matches!(controller.way, Way::Far(_)));
    }

    #[test]
    fn a_far_path_is_measured_from_when_it_is_known_to_be_one() {
        let (mut controller, now) = controller();
        controller.on_sent(now, 1200, 10);
        controller.judge(now, Duration::from_millis(50));
        let Way::Far(delivered) = controller.way else { panic!("it is far") };
        assert_eq!(delivered.round_ends_after(), 10);
    }

    #[test]
    fn a_path_that_only_seemed_far_goes_on_at_its_rate() {
        let (mut controller, now) = controller();
        controller.judge(now, Duration::from_millis(50));
        let window = controller.window();
        controller.judge(now, Duration::from_millis(1));
        assert!(matches!(controller.way, Way::Near(_)));
        assert_eq!(controller.window(), window);
    }
}
