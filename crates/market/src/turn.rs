//! The loop around decisions, without I/O: [`Turn`].

use std::collections::VecDeque;

use crate::{BlockRef, Decision, Effect, Env, Input, Party, Refused, State};

/// The inputs of one channel, decided one after the other.
///
/// What an effect reports while it is carried out (a transaction that is cancelled at once, one that cannot be stored) is pushed
/// and decided after all effects of the decision before. The state is stored when [`next`](Self::next) returns `None`.
#[derive(Clone, Debug)]
pub struct Turn<P: Party> {
    state: State<P>,
    inputs: VecDeque<Input<P>>,
}

impl<P: Party> Turn<P> {
    /// A turn that begins with this state.
    pub const fn new(state: State<P>) -> Self {
        Self { state, inputs: VecDeque::new() }
    }

    /// Adds an input after the others.
    pub fn push(&mut self, input: Input<P>) {
        self.inputs.push_back(input);
    }

    /// Decides the oldest input. Its effects are carried out before this is called again. `None` when all are decided.
    ///
    /// # Errors
    /// [`Refused`] of that input, which changed nothing. The others can still be decided.
    pub fn next(&mut self, env: &Env<'_, P>) -> Option<Result<Vec<Effect<P>>, Refused>> {
        let input = self.inputs.pop_front()?;
        Some(P::decide(&self.state, &input, env).map(|Decision { state, effects }| {
            self.state = state;
            effects
        }))
    }

    /// The state now.
    pub const fn state(&self) -> &State<P> {
        &self.state
    }

    /// The blocks with transactions of the channel, as [`State::mined`] gives them. A decision that takes in such a block does not know
    /// yet whether it is seen: whoever finds that it is sets it, and pushes [`Input::Look`].
    pub fn mined(&mut self) -> impl Iterator<Item = (BlockRef, &mut bool)> {
        self.state.mined()
    }

    /// The state at the end.
    pub fn into_state(self) -> State<P> {
        self.state
    }
}
