//! A cluster that is written to while its first copies are made.

use super::*;

/// Ends whoever stirs, also where what goes on beside it fails: a scope waits for its threads.
struct Ends<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

/// Copies while somebody writes, and demands in the end that nothing is left to do.
pub(super) fn stirred(dirs: &Dirs) {
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&over);
        scope.spawn(|| {
            let mut state = 0x1234_5678_u32;
            let mut next = |below: u32| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) % below
            };
            while !over.load(std::sync::atomic::Ordering::SeqCst) {
                let name = (1 + next(4)).to_string();
                match next(20) {
                    0 => dirs.write(&name, &pages(next(1000), next(300))),
                    1 => {
                        let other = dirs.old("8");
                        fs::write(&other, pages(next(1000), 20)).unwrap();
                        fs::rename(&other, dirs.old(&name)).unwrap();
                    }
                    2 => dirs.write(&format!("{name}_fsm"), &pages(next(1000), 3)),
                    3 => {
                        let _ = fs::remove_file(dirs.old(&format!("{name}_fsm")));
                    }
                    _ => dirs.change(
                        &name,
                        u64::from(next(40)) * PAGE as u64,
                        &pages(next(1000), 1),
                    ),
                }
            }
        });
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            dirs.beside();
        }
    });
    dirs.at_rest();
    dirs.come_of_age();
    dirs.beside();
    assert_eq!(dirs.at_rest().files, 0);
}
