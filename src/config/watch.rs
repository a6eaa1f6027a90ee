//! What a route does about messages that do not arrive.

use std::time::Duration;

use super::reader::Section;

/// Longer, and the person has given up.
const LONGEST_PATIENCE: Duration = Duration::from_mins(5);
/// Shorter, and messages that are on their way are sent again.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(5);

/// What a route does about messages that do not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// How long a report is waited for; none waits for none, and acts on reports of failure alone.
    pub patience: Option<Duration>,
    /// Messages that are sent by ourselves for one challenge, at most.
    pub max_resends: u32,
}

impl Default for Watch {
    fn default() -> Self {
        Self { patience: None, max_resends: 1 }
    }
}

/// Reads the keys of one route.
pub(super) fn read(section: &Section<'_>) -> Watch {
    let patience = section.optional::<Duration>("patience");
    let range = SHORTEST_PATIENCE..=LONGEST_PATIENCE;
    if patience.is_some_and(|patience| !range.contains(&patience)) {
        section.problem("patience", "must be 5s to 5m: most reports come within seconds, and somebody waits");
    }
    let why = "each costs a message that nobody asked for";
    Watch { patience, max_resends: section.ranged("max_resends", Watch::default().max_resends, 0..=2, why) }
}
