use std::error::Error;
use std::fmt;
use std::ops::{Deref, DerefMut};

use privatix_db::Conn;

use crate::rounds::Turn;
use crate::{Job, JobId, JobsError, PushOptions, Pushed, queue};

/// What a job's failure writes: a [`Conn`] in the transaction in which the job fails for good, to make up for what it did.
pub struct Effects<'a> {
    pub(crate) turn: &'a mut Turn,
    pub(crate) job: JobId,
    pub(crate) reason: Option<&'a (dyn Error + Send + Sync + 'static)>,
}

impl Effects<'_> {
    /// The id of the job that fails.
    pub fn id(&self) -> JobId {
        self.job
    }

    /// The error that the last try returned, where it is an `E`: so that nobody has to read a meaning out of a message. `None`
    /// where it is another one, and after a panic or a timeout.
    pub fn reason<E: Error + 'static>(&self) -> Option<&E> {
        self.reason?.downcast_ref()
    }

    /// Pushes a follow-up job, created by "job", into the same transaction.
    ///
    /// # Errors
    /// As [`push`](crate::push).
    pub async fn push<J: Job>(&mut self, job: &J) -> Result<Pushed, JobsError> {
        queue::push(self.turn, job, PushOptions::by("job")).await
    }
}

impl Deref for Effects<'_> {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        self.turn
    }
}

impl DerefMut for Effects<'_> {
    fn deref_mut(&mut self) -> &mut Conn {
        self.turn
    }
}

impl fmt::Debug for Effects<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effects").field("job", &self.job).finish_non_exhaustive()
    }
}
