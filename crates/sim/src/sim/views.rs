//! Connections of version 2: they keep their order, end with a process, and carry what the agent shows.

use privatix_channel::AgentView;
use privatix_market::{Agent, AgentState, Carried, ClientMessage, Env, Reply, Shown, Uptime, Verified};

use super::{BuyerEvent, Event, Sim};
use crate::buyer::Asking;
use crate::node::Tags;

/// The direction of a message.
#[derive(Clone, Copy)]
pub(super) enum Way {
    ToAgent,
    ToClient,
}

impl Sim<'_> {
    /// Whether a buyer and its agent speak version 2.
    pub(crate) fn speaks_2(&self, channel: usize) -> bool {
        self.scenario.world.speaks_2.contains(&channel)
    }

    /// Whether a message came on a connection that has ended.
    pub(super) fn is_cut(&self, channel: usize, request: Option<Asking>) -> bool {
        let Some(asking) = request.filter(|_| self.speaks_2(channel)) else { return false };
        !self.buyers[channel].as_ref().is_some_and(|buyer| buyer.is_up && buyer.life == asking.life)
    }

    /// The pause after which a message arrives: not before the one that was sent before it.
    pub(super) fn in_order(&mut self, channel: usize, way: Way, pause: u64) -> u64 {
        let last = &mut self.arrivals[channel][way as usize];
        *last = (self.now + pause).max(*last + 1);
        *last - self.now
    }

    pub(super) fn deliver_in_order(&mut self, channel: usize, life: u64, until: u64, message: ClientMessage) {
        let pause = self.delays.between(20, 2_000);
        let pause = self.in_order(channel, Way::ToClient, pause);
        self.after(pause, Event::Buyer { channel, what: BuyerEvent::Message { life, until, message } });
    }

    /// What an answer carries.
    pub(super) fn carried(&mut self, channel: usize, reply: Reply, request: Option<Asking>) -> Carried {
        let Some(asking) = request.filter(|_| self.speaks_2(channel)) else { return Carried::default() };
        let policy = std::mem::take(&mut self.policy);
        let state = self.load(channel);
        let shown = self.shows(channel, state.view(&self.env_of(channel, &policy)));
        self.policy = policy;
        let (id, descriptor) = self.chain.channels[channel];
        let best = reply.carries(Some(asking.sent), &state.book);
        let voucher = |best| Verified::check(&Tags(descriptor.signer), &(id, best, descriptor.signer)).ok();
        Carried { view: Some(shown), best: best.and_then(voucher) }
    }

    /// Numbers a view. The agent's numbers and its connections begin again with its process.
    fn shows(&mut self, channel: usize, view: AgentView) -> Shown {
        let last = &mut self.memory.views[channel];
        let number = match last {
            None => 0,
            Some(last) if (AgentView { number: last.number, ..view }) == *last => last.number,
            Some(last) => last.number + 1,
        };
        let view = AgentView { number, ..view };
        *last = Some(view);
        Shown { connected: Uptime::new(self.memory.life), view }
    }

    /// Sends what has changed, beside the use.
    pub(super) fn notify(&mut self, channel: usize, state: &AgentState, env: &Env<'_, Agent>) {
        if !self.speaks_2(channel) || self.is_rogue(channel) || self.now < self.until.offline {
            return;
        }
        let view = state.view(env);
        let words = |view: &AgentView| (view.service, view.reason, view.resumes_at, view.access);
        let has_changed = self.memory.views[channel].is_none_or(|last| words(&last) != words(&view));
        let Some(buyer) = self.buyers[channel].as_ref().filter(|buyer| buyer.is_up && has_changed) else {
            return;
        };
        let life = buyer.life;
        let shown = self.shows(channel, view);
        if self.delays.chance(95) {
            let until = self.now + 60_000;
            self.deliver_in_order(channel, life, until, ClientMessage::View(shown));
        }
    }
}
