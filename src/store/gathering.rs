//! What is written down with others of its kind.
//!
//! Guarantees: what is gathered is taken once, by the job that its first item calls for. An item that comes while that
//! job waits for its turn goes along; where the job is dropped unmade, so is all that it would have taken.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Items that wait for the job that takes them.
pub struct Gathering<T>(Arc<Mutex<State<T>>>);

struct State<T> {
    items: Vec<T>,
    /// Whether a job will take them.
    has_job: bool,
}

impl<T> Default for Gathering<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { items: Vec::new(), has_job: false })))
    }
}

impl<T> Gathering<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one. None: another's job takes it along; otherwise whoever added it is to hand over a job.
    pub fn add(&self, item: T) -> Option<Gathered<T>> {
        let mut state = self.state();
        state.items.push(item);
        let has_job = std::mem::replace(&mut state.has_job, true);
        (!has_job).then(|| Gathered { from: Self(Arc::clone(&self.0)), items: OnceLock::new() })
    }

    /// Drops those that are not to be kept.
    pub fn retain(&self, keep: impl FnMut(&T) -> bool) {
        self.state().items.retain(keep);
    }
}

/// All that is there when its job is made.
pub struct Gathered<T> {
    from: Gathering<T>,
    items: OnceLock<Vec<T>>,
}

impl<T> Gathered<T> {
    /// The same each time: a job may be made more than once.
    pub fn items(&self) -> &[T] {
        self.items.get_or_init(|| {
            let mut state = self.from.state();
            state.has_job = false;
            std::mem::take(&mut state.items)
        })
    }

    /// For a job that is made once, and takes so many at most; and the next job, where there are more.
    pub fn into_some(self, most: usize) -> (Vec<T>, Option<Self>) {
        let mut state = self.from.state();
        let later = state.items.len().min(most);
        let later = state.items.split_off(later);
        state.has_job = !later.is_empty();
        let items = std::mem::replace(&mut state.items, later);
        let next = state.has_job.then(|| Self { from: self.gathering(), items: OnceLock::new() });
        drop(state);
        // Nothing is left for its end to take.
        let _ = self.items.set(Vec::new());
        (items, next)
    }

    /// Where they wait.
    pub fn gathering(&self) -> Gathering<T> {
        Gathering(Arc::clone(&self.from.0))
    }
}

impl<T> Drop for Gathered<T> {
    /// What was not taken is lost with its job; the next item calls for another.
    fn drop(&mut self) {
        self.items();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_the_job_is_made_goes_along() {
        let gathering = Gathering::default();
        let gathered = gathering.add(1).expect("the first calls for a job");
        assert!(gathering.add(2).is_none());
        assert_eq!(gathered.items(), [1, 2]);
        let next = gathering.add(3).expect("it came too late");
        assert_eq!((gathered.items(), next.items()), (&[1, 2][..], &[3][..]));
    }

    #[test]
    fn a_job_that_takes_some_leaves_the_others_to_the_next() {
        let gathering = Gathering::default();
        let job = gathering.add(1).expect("the first calls for a job");
        assert!((2..=5).all(|item| gathering.add(item).is_none()));
        let (some, next) = job.into_some(2);
        assert!(gathering.add(6).is_none(), "there is a job");
        gathering.retain(|item| *item != 4);
        let (others, end) = next.expect("there are more").into_some(9);
        assert_eq!((some, others, end.is_none()), (vec![1, 2], vec![3, 5, 6], true));
        assert!(gathering.add(7).is_some());
    }

    #[test]
    fn nothing_is_lost_between_one_job_and_the_next() {
        let (gathering, (jobs, to_do)) = (Gathering::default(), std::sync::mpsc::channel::<Gathered<u32>>());
        let done = std::thread::scope(|scope| {
            let worker =
                scope.spawn(move || to_do.iter().map(|job| job.into_some(usize::MAX).0.len()).sum::<usize>());
            for jobs in [jobs.clone(), jobs.clone(), jobs] {
                let gathering = &gathering;
                scope.spawn(move || {
                    (0..100_000)
                        .filter_map(|item| gathering.add(item))
                        .for_each(|job| jobs.send(job).expect("a worker"));
                });
            }
            worker.join().expect("no panic")
        });
        assert_eq!(done, 300_000);
    }

    #[test]
    fn what_comes_after_a_job_that_was_dropped_calls_for_another() {
        let gathering = Gathering::default();
        drop(gathering.add(1));
        assert_eq!(gathering.add(2).expect("another").items(), [2]);
    }
}
