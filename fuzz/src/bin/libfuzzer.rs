//! The targets under libFuzzer: `cargo xtask fuzz --libfuzzer TARGET` names one in the environment.
#![no_main]
#![forbid(unsafe_code)]

use std::cell::OnceCell;

use aegis_fuzz::{Target, targets};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static TARGET: OnceCell<Box<dyn Target>> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    TARGET.with(|cell| {
        let target = cell.get_or_init(|| {
            let name =
                std::env::var("AEGIS_FUZZ_TARGET").expect("cargo xtask fuzz --libfuzzer names a target");
            targets::open(&name).expect("a known target")
        });
        let mut input = data.to_vec();
        target.repair(&mut input);
        target.run(&input);
    });
});
