//! Several things at once, the first error ends them all.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::Cancel;
use crate::error::{Code, Error, Result};

/// How many things are done at once where nobody has said it: one for each processor, and not more
/// than one disk has an answer for.
pub fn usual_jobs() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(16)
}

/// Does `work` with every item, `jobs` at a time, in the order of the items.
///
/// After a failure or a request to stop no further item is begun; items being worked on end
/// by themselves, because the programs they run watch the same request.
pub fn each<I: Sync>(
    jobs: usize,
    items: &[I],
    cancel: &Cancel,
    work: impl Fn(&I) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let run = || {
        while !stop.load(Ordering::SeqCst) && !cancel.requested() {
            let Some(item) = items.get(next.fetch_add(1, Ordering::SeqCst)) else {
                return;
            };
            if let Err(error) = work(item) {
                stop.store(true, Ordering::SeqCst);
                lock(&failure).get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..jobs.clamp(1, items.len().max(1)) {
            scope.spawn(run);
        }
        run();
    });
    match lock(&failure).take() {
        Some(error) => Err(error),
        None => cancel.check(),
    }
}

/// Does two things at once; the error is that of the one that failed, of both that of `main`.
///
/// Neither is ended because the other failed.
pub fn both<A: Send, B>(
    beside: impl FnOnce() -> Result<A> + Send,
    main: impl FnOnce() -> Result<B>,
) -> Result<(A, B)> {
    let (beside, main) = std::thread::scope(|scope| {
        let beside = scope.spawn(beside);
        let main = main();
        (beside.join(), main)
    });
    let main = main?;
    let beside = beside.unwrap_or_else(|_| {
        Err(Error::new(
            Code::Internal,
            "what was done beside something else panicked",
        ))
    })?;
    Ok((beside, main))
}

/// What a mutex guards, also where a holder panicked: the panic itself ends the scope.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once() {
        let items: Vec<usize> = (0..100).collect();
        let seen = Mutex::new(Vec::new());
        each(4, &items, &Cancel::new(), |item| {
            seen.lock().unwrap().push(*item);
            Ok(())
        })
        .unwrap();
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert_eq!(seen, items);
    }

    #[test]
    fn the_first_error_ends_it() {
        let done = AtomicUsize::new(0);
        let result = each(1, &[1, 2, 3], &Cancel::new(), |item| {
            done.fetch_add(1, Ordering::SeqCst);
            if *item == 2 {
                Err(Error::new(Code::Internal, "two"))
            } else {
                Ok(())
            }
        });
        assert_eq!(result.unwrap_err().message(), "two");
        assert_eq!(done.into_inner(), 2);
    }

    #[test]
    fn two_things_are_done_and_either_may_fail() {
        let fails = |word: &'static str| move || Err::<i32, _>(Error::new(Code::Internal, word));
        let said = |result: Result<(i32, i32)>| result.unwrap_err().message().to_owned();
        assert_eq!(both(|| Ok(1), || Ok(2)).unwrap(), (1, 2));
        assert_eq!(said(both(fails("beside"), || Ok(2))), "beside");
        assert_eq!(said(both(|| Ok(1), fails("main"))), "main");
        assert_eq!(said(both(fails("beside"), fails("main"))), "main");
    }
}
