//! Walks over one store, stages side by side. One thread decides, others run stages.
//!
//! Which stages run does not depend on how many run at a time: every look-up is by action key, an action that is being
//! made is waited for, and one that failed is not tried again. What is free to start starts in the order of the walks,
//! in a walk in the order of the graph.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{atomic::Ordering, mpsc},
    thread::{self, Scope},
};

use oops_core::{Class, Digest, Fault, Result};
use oops_stage::Needs;

use crate::{
    Limits, Outcome, Selection, Session,
    make::{Made, Maker, panicked},
    selection::Selected,
    walk::{Settled, Walk},
};

/// Stack of a thread that runs a stage: that of a main thread.
const STACK: usize = 8 << 20;

/// One walk of several.
pub struct Job<'a> {
    /// What it works with.
    pub session: Session<'a>,
    /// What it makes.
    pub selection: Selection,
    /// Its overrides, only written down.
    pub overrides: Vec<String>,
}

/// Actions that failed, and how: they are not tried again.
pub(crate) type Failures = BTreeMap<Digest, Fault>;

/// Runs what is selected and not in the store. `overrides` are only written down. Fails only if the selection is wrong;
/// a stage that fails is part of the outcome.
pub fn run(session: Session<'_>, selection: &Selection, overrides: &[String], limits: Limits) -> Result<Outcome> {
    let job = Job { session, selection: selection.clone(), overrides: overrides.to_vec() };
    let mut ended = None;
    run_all(&[job], limits, &mut |_| (), &mut |_, outcome| {
        ended = Some(outcome);
        Ok(())
    })?;
    ended.ok_or_else(|| Fault::internal("a walk without an end"))
}

/// Walks all jobs, up to `limits.jobs` at a time; tells `begin` of each when it starts and `end`, in order, when it and
/// all before it are over. Nothing new starts behind a failure unless `limits.keep_going`, behind an interruption ever.
/// Fails only if a selection is wrong or `end` fails.
pub fn run_all(
    jobs: &[Job<'_>],
    limits: Limits,
    begin: &mut dyn FnMut(usize),
    end: &mut dyn FnMut(usize, Outcome) -> Result<()>,
) -> Result<()> {
    let selected = jobs.iter().map(|j| j.selection.select(j.session.graph)).collect::<Result<Vec<_>>>()?;
    let mut schedule = Schedule {
        jobs,
        limits,
        selected: selected.into_iter(),
        walks: Vec::new(),
        ended: 0,
        running: Vec::new(),
        failures: Failures::new(),
        made: BTreeSet::new(),
        stopping: false,
    };
    thread::scope(|scope| schedule.all(scope, begin, end))
}

/// A stage that is being made.
struct Running {
    walk: usize,
    node: usize,
    key: Digest,
    needs: Needs,
}

struct Schedule<'j, 'a> {
    jobs: &'j [Job<'a>],
    limits: Limits,
    /// Of jobs that have not begun.
    selected: std::vec::IntoIter<Selected>,
    /// Of jobs that have begun; `None` once they are over.
    walks: Vec<Option<Walk<'a>>>,
    /// Walks that are over, with all before them.
    ended: usize,
    running: Vec<Running>,
    failures: Failures,
    /// Actions that were run and not yet counted for a walk.
    made: BTreeSet<Digest>,
    /// Whether nothing new may start.
    stopping: bool,
}

/// What a thread reports: walk, node, and what came of it.
type Report = (usize, usize, Made);

impl<'a> Schedule<'_, 'a> {
    fn all<'s>(
        &mut self,
        scope: &'s Scope<'s, '_>,
        begin: &mut dyn FnMut(usize),
        end: &mut dyn FnMut(usize, Outcome) -> Result<()>,
    ) -> Result<()>
    where
        'a: 's,
    {
        let (tell, hear) = mpsc::channel();
        let mut ended = Ok(());
        loop {
            while let Some((w, i)) = self.next(begin) {
                self.start(scope, &tell, w, i);
            }
            if !self.stopping && !self.cancelled() {
                ended = self.end_walks(end);
                self.stopping = ended.is_err();
            }
            if self.running.is_empty() {
                break;
            }
            let Ok((w, i, made)) = hear.recv() else { break };
            self.take(w, i, made);
        }
        self.say_interrupted(begin);
        // Stopped: what has begun ends as far as it got.
        self.stopping = true;
        ended.and_then(|()| self.end_walks(end))
    }

    fn cancelled(&self) -> bool {
        self.jobs.iter().any(|j| j.session.cancel.load(Ordering::Relaxed))
    }

    /// The next stage that can start now.
    fn next(&mut self, begin: &mut dyn FnMut(usize)) -> Option<(usize, usize)> {
        for w in self.ended.. {
            if self.running.len() >= self.limits.jobs || self.stopping || self.cancelled() {
                return None;
            }
            if w == self.walks.len() && !self.open(begin) {
                return None;
            }
            if let Some(i) = self.next_of(w) {
                return Some((w, i));
            }
        }
        None
    }

    /// Begins another walk; false if there is none, or as many are under way as may run stages.
    fn open(&mut self, begin: &mut dyn FnMut(usize)) -> bool {
        let under_way = self.walks.iter().flatten().filter(|w| w.is_running() || w.ready().next().is_some()).count();
        if under_way >= self.limits.jobs {
            return false;
        }
        let Some(selected) = self.selected.next() else { return false };
        begin(self.walks.len());
        self.walks.push(Some(Walk::new(self.jobs[self.walks.len()].session, selected, self.limits.strict)));
        true
    }

    /// The next stage of a walk that can start now; whatever is in the store is found on the way.
    fn next_of(&mut self, w: usize) -> Option<usize> {
        let mut later = BTreeSet::new();
        loop {
            let walk = self.walks[w].as_mut()?;
            let i = walk.ready().find(|i| !later.contains(i))?;
            match walk.settle(i, &self.failures) {
                Settled::Found => {}
                Settled::Failed => {
                    self.stopping |= !self.limits.keep_going;
                    if self.stopping {
                        return None;
                    }
                }
                Settled::Task(task) if self.fits(&task.action.key, &task.needs) => return Some(i),
                Settled::Task(_) => {
                    later.insert(i);
                }
            }
        }
    }

    /// Whether a stage can start beside those that run.
    fn fits(&self, key: &Digest, needs: &Needs) -> bool {
        if self.running.iter().any(|r| r.key == *key) {
            return false;
        }
        let heavy = self.running.iter().filter(|r| r.needs.heavy).count();
        let all = self.running.iter().map(|r| self.memory(&r.needs)).chain([self.memory(needs)]);
        let memory = all.fold(0, u64::saturating_add);
        self.running.is_empty()
            || (!needs.heavy || heavy < self.limits.heavy) && self.limits.memory.is_none_or(|most| memory <= most)
    }

    /// Bytes to set aside for a stage: a heavy one of which nothing is known may take everything.
    fn memory(&self, needs: &Needs) -> u64 {
        needs.memory_bytes.or(self.limits.memory.filter(|_| needs.heavy)).unwrap_or(0)
    }

    fn start<'s>(&mut self, scope: &'s Scope<'s, '_>, tell: &mpsc::Sender<Report>, w: usize, i: usize)
    where
        'a: 's,
    {
        let Some(walk) = self.walks[w].as_mut() else { return };
        let Settled::Task(task) = walk.settle(i, &self.failures) else { return };
        walk.begin(i);
        let free = walk.session.store.free_bytes();
        self.limits.shortages(&task.needs, free).iter().for_each(|message| walk.warn(i, message));
        self.running.push(Running { walk: w, node: i, key: task.action.key, needs: task.needs });
        let maker = Maker::new(walk.session, i, task, &walk.results, self.limits);
        let tell_it = tell.clone();
        let make = move || {
            let made = catch_unwind(AssertUnwindSafe(|| maker.make()));
            let made = made.unwrap_or_else(|payload| Err(panicked(&*payload))).unwrap_or_else(Made::Failed);
            // Nobody hears it only if the deciding thread is gone, and then the process ends.
            let _ = tell_it.send((w, i, made));
        };
        if let Err(e) = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, make) {
            let fault = Fault::internal(format!("no thread for a stage: {e}")).help("use fewer --jobs");
            self.take(w, i, Made::Failed(fault));
        }
    }

    fn take(&mut self, w: usize, i: usize, made: Made) {
        let Some(at) = self.running.iter().position(|r| (r.walk, r.node) == (w, i)) else { return };
        let key = self.running.swap_remove(at).key;
        self.walks.iter_mut().flatten().for_each(|walk| walk.ask_again(&key));
        let Some(walk) = self.walks[w].as_mut() else { return };
        walk.end(i);
        let fault = match made {
            Made::Ran(made, reason) => {
                self.made.insert(key);
                walk.made(i, *made, &reason);
                return;
            }
            Made::Found(found) => return walk.found(i, *found),
            Made::Lost(damaged) => match walk.lose(&damaged) {
                Ok(()) => return,
                Err(fault) => fault,
            },
            Made::Failed(fault) => fault,
        };
        self.stopping |= !self.limits.keep_going || fault.class() == Class::Interrupted;
        self.failures.insert(key, fault.clone());
        walk.fail(i, fault);
    }

    /// Ends walks in order, as far as they are over; stopped ones are, once nothing runs.
    fn end_walks(&mut self, end: &mut dyn FnMut(usize, Outcome) -> Result<()>) -> Result<()> {
        let stopped = self.stopping && self.running.is_empty();
        while let Some(slot) = self.walks.get_mut(self.ended) {
            let over = |w: &mut Walk<'_>| stopped || !w.is_running() && w.ready().next().is_none();
            let Some(walk) = slot.take_if(over) else { return Ok(()) };
            let w = self.ended;
            self.ended += 1;
            end(w, walk.finish(&self.jobs[w].overrides, &mut self.made))?;
        }
        Ok(())
    }

    /// If the user stopped the walks and no stage has said so, the first walk that is not complete does.
    fn say_interrupted(&mut self, begin: &mut dyn FnMut(usize)) {
        let said = self.failures.values().any(|f| f.class() == Class::Interrupted);
        if !self.cancelled() || said {
            return;
        }
        if self.walks.iter().flatten().all(Walk::is_complete)
            && let Some(selected) = self.selected.next()
        {
            begin(self.walks.len());
            self.walks.push(Some(Walk::new(self.jobs[self.walks.len()].session, selected, self.limits.strict)));
        }
        if let Some(walk) = self.walks.iter_mut().flatten().find(|w| !w.is_complete()) {
            walk.interrupt();
        }
    }
}
