//! What is in the engine because of this run, and seeing that nothing of it stays there.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use crate::docker::{Container, Engine, Error, Sent, Setting};
use crate::oci::{Image, Layout};

/// The longest time that an engine is waited for at the end: it finishes what it was asked for, with or without us.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// What an engine answers when there is no such thing.
const NOT_FOUND: u16 = 404;

/// One thing in the engine. Containers come before the images they need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trace {
    /// A container, by its name.
    Container(String),
    /// An image, by its name.
    Image(String),
}

impl Trace {
    /// A name for a container that no other has, and its trace.
    pub fn of_container() -> (String, Self) {
        // The standard library's hasher has random keys, others each time.
        let name = format!("esker-verify-{:016x}", RandomState::new().hash_one(std::process::id()));
        (name.clone(), Self::Container(name))
    }
}

/// How far it is.
#[derive(Debug)]
enum Stage {
    /// Asked for, but not answered.
    Asked,
    /// There, or perhaps there.
    There,
}

/// The things that are there because of this run.
#[derive(Clone, Debug, Default)]
pub struct Known(Arc<Mutex<BTreeMap<Trace, Stage>>>);

impl Known {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Trace, Stage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, trace: &Trace, stage: Stage) {
        self.all().insert(trace.clone(), stage);
    }

    /// Takes in what came of asking for `trace`. What failed without an answer of the engine may be there all the same.
    fn answered<T>(&self, trace: &Trace, answer: &Result<T, Error>) {
        match answer {
            Err(error) if error.status().is_some() => self.forget(trace),
            _ => self.set(trace, Stage::There),
        }
    }

    /// Notes that it is gone.
    pub fn forget(&self, trace: &Trace) {
        self.all().remove(trace);
    }
}

/// What is in the engine because of this run. Dropping it removes all of it, and waits for that: nobody does when esker
/// is interrupted.
///
/// An engine goes on with a request whose sender has gone. So requests that leave something there are tasks of their
/// own, which an interrupt does not end, and what they make is removed when they are through.
#[derive(Debug)]
pub struct Traces {
    setting: Setting,
    known: Known,
    loading: Mutex<Option<(AbortHandle, Sent)>>,
}

impl Traces {
    /// Nothing yet, in the engine that `setting` leads to.
    pub fn new(setting: &Setting) -> Self {
        Self { setting: setting.clone(), known: Known::default(), loading: Mutex::default() }
    }

    /// What is known to be there.
    pub fn known(&self) -> Known {
        self.known.clone()
    }

    /// Loads `image` of `layout` as `tag`, and returns what the engine calls it.
    ///
    /// # Errors
    /// Those of [`Engine::load_image`].
    pub async fn load(&self, engine: &Engine, layout: &Layout, image: &Image, tag: &str) -> Result<String, Error> {
        let (known, trace) = (self.known(), Trace::Image(tag.to_owned()));
        let (engine, layout, image, tag) = (engine.clone(), layout.clone(), image.clone(), tag.to_owned());
        let sent = Sent::default();
        known.set(&trace, Stage::Asked);
        let telling = sent.clone();
        let loading = tokio::spawn(async move {
            let loaded = engine.load_image_telling(&layout, &image, &tag, &telling).await;
            known.answered(&trace, &loaded);
            loaded
        });
        *self.loading.lock().unwrap_or_else(PoisonError::into_inner) = Some((loading.abort_handle(), sent));
        loading.await.map_err(|_| Error::Panicked)?.map(|loaded| loaded.name)
    }

    /// Creates `container`, which leaves `trace`.
    ///
    /// # Errors
    /// Those of [`Engine::create`].
    pub async fn create(&self, engine: &Engine, container: Container, trace: &Trace) -> Result<(), Error> {
        let (known, trace, engine) = (self.known(), trace.clone(), engine.clone());
        known.set(&trace, Stage::Asked);
        let creating = tokio::spawn(async move {
            let created = engine.create(container).await;
            known.answered(&trace, &created);
            created
        });
        creating.await.map_err(|_| Error::Panicked)?
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        let loading = self.loading.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((loading, sent)) = loading
            && !sent.is_whole()
        {
            // The engine refuses the part that it has got.
            loading.abort();
            self.known.all().retain(|trace, stage| !matches!((trace, stage), (Trace::Image(_), Stage::Asked)));
        }
        if self.known.all().is_empty() {
            return;
        }
        // On a thread of its own: this one may be in a runtime, where nothing can be waited for.
        let (setting, known) = (self.setting.clone(), self.known());
        let clearing = std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(clear(&setting, &known));
        });
        if clearing.join().is_err() {
            tracing::warn!("removing containers ended in a panic");
        }
    }
}

/// Removes all that is known, and waits for what is still to come.
async fn clear(setting: &Setting, known: &Known) {
    let end = Instant::now() + PATIENCE;
    let engine = match Engine::connect(setting).await {
        Ok(engine) => engine,
        Err(error) => return tracing::warn!(%error, "what verify made in the engine stays there"),
    };
    loop {
        let there: Vec<_> =
            known.all().iter().map(|(trace, stage)| (trace.clone(), matches!(stage, Stage::There))).collect();
        if there.is_empty() {
            return;
        }
        // An image that is removed while a container of it comes loses its name, and stays.
        let is_free = |trace: &Trace| match trace {
            Trace::Container(_) => true,
            Trace::Image(_) => !there.iter().any(|(trace, _)| matches!(trace, Trace::Container(_))),
        };
        for (trace, _) in there.iter().filter(|(trace, is_there)| *is_there && is_free(trace)) {
            let removed = match trace {
                Trace::Container(name) => engine.remove(name).await,
                Trace::Image(name) => engine.remove_image(name).await,
            };
            // A removal that is under way, or an image whose container goes at this moment, is asked for again.
            match removed {
                Ok(()) => known.forget(trace),
                Err(error) if error.status() == Some(NOT_FOUND) => known.forget(trace),
                Err(error) if Instant::now() > end => {
                    tracing::warn!(%error, ?trace, "stays in the engine");
                    known.forget(trace);
                }
                Err(_) => {}
            }
        }
        if Instant::now() > end {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
