//! What is written down with others of its kind.
//!
//! Guarantees: what is gathered is taken once, by the job that its first item calls for. An item that comes while that
//! job waits for its turn goes along; where the job is dropped unmade, so is all that it would have taken.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Items that wait for the job that takes them.
pub struct Gathering<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Gathering<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Gathering<T> {
    /// Adds one. None: another's job takes it along; otherwise whoever added it is to hand over a job.
    pub fn add(&self, item: T) -> Option<Gathered<T>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(item);
        (waiting.len() == 1).then(|| Gathered { from: Arc::clone(&self.0), items: OnceLock::new() })
    }
}

/// All that is there when its job is made.
pub struct Gathered<T> {
    from: Arc<Mutex<Vec<T>>>,
    items: OnceLock<Vec<T>>,
}

impl<T> Gathered<T> {
    /// The same each time: a job may be made more than once.
    pub fn items(&self) -> &[T] {
        self.items
            .get_or_init(|| std::mem::take(&mut self.from.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// For a job that is made once.
    pub fn into_items(mut self) -> Vec<T> {
        self.items();
        // Nothing is left in their place: what comes from now on is not taken once more.
        self.items.get_mut().map(std::mem::take).unwrap_or_default()
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
        assert_eq!((gathered.into_items(), next.into_items()), (vec![1, 2], vec![3]));
    }

    #[test]
    fn nothing_is_lost_between_one_job_and_the_next() {
        let (gathering, (jobs, to_do)) = (Gathering::default(), std::sync::mpsc::channel::<Gathered<u32>>());
        let done = std::thread::scope(|scope| {
            let worker = scope.spawn(move || to_do.iter().map(|job| job.into_items().len()).sum::<usize>());
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
