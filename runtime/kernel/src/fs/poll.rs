//! Waiting for several files at once: what poll(2) and select(2) share.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::file::{OpenFile, Readiness, Unqueued};
use crate::process::wait::{wait_with_host, Interrupted, WaitQueue};

/// A file and what is asked about it; without a file nothing ever happens.
pub struct Question {
    /// The file.
    pub file: Option<Arc<OpenFile>>,
    /// Events asked about: an answer tells of these only.
    pub events: Readiness,
}

impl Question {
    fn answer(&self) -> Readiness {
        match &self.file {
            Some(file) => file.file.readiness() & self.events,
            None => Readiness::empty(),
        }
    }

    fn unqueued(&self) -> Unqueued {
        match &self.file {
            Some(file) => file.file.unqueued(self.events).unwrap_or_default(),
            None => Unqueued::default(),
        }
    }
}

/// Looks at all files: stores an answer for each and returns how many are not empty.
///
/// Looking at a stream of the host may use up a wake, so those come first: what a wake tells of is seen afterwards.
pub fn look(questions: &[Question], answers: &mut [Readiness]) -> usize {
    for host in [true, false] {
        for (question, answer) in questions.iter().zip(answers.iter_mut()) {
            if (question.unqueued().streams != [0; 3]) == host {
                *answer = question.answer();
            }
        }
    }
    answers.iter().filter(|answer| !answer.is_empty()).count()
}

/// Waits until there is an answer, or until the deadline (monotonic nanoseconds): then there are none.
pub fn wait(
    questions: &[Question],
    deadline: Option<u64>,
    answers: &mut [Readiness],
) -> Result<usize, Interrupted> {
    let queues: Vec<&WaitQueue> = questions
        .iter()
        .filter_map(|question| question.file.as_ref()?.file.wait_queue())
        .collect();
    wait_unqueued(
        &queues,
        deadline,
        || unqueued(questions),
        || match look(questions, answers) {
            0 => None,
            n => Some(n),
        },
    )
    .or_else(|reason| match reason {
        Interrupted::TimedOut => Ok(0),
        Interrupted::Signal => Err(reason),
    })
}

fn unqueued(questions: &[Question]) -> Unqueued {
    let mut all = Unqueued::default();
    for question in questions {
        all.merge(question.unqueued());
    }
    all
}

/// Sleeps until `ready` gives something, for things that no queue tells of too: as long as `unqueued` changes while
/// asleep (a timer is set), sleeps anew.
pub fn wait_unqueued<T>(
    queues: &[&WaitQueue],
    deadline: Option<u64>,
    unqueued: impl Fn() -> Unqueued,
    mut ready: impl FnMut() -> Option<T>,
) -> Result<T, Interrupted> {
    loop {
        let now = unqueued();
        let mut until = Unqueued {
            deadline,
            ..Unqueued::default()
        };
        until.merge(now);
        let outcome = wait_with_host(queues, &until.host_fds(), until.deadline, || {
            match ready() {
                Some(value) => Some(Some(value)),
                None if unqueued() != now => Some(None),
                None => None,
            }
        });
        match outcome {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => {}
            // The time of a file has come, not that of the caller.
            Err(Interrupted::TimedOut) if until.deadline != deadline => {}
            Err(reason) => return Err(reason),
        }
    }
}
