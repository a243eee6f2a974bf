#![no_main]

use kappa_properties::Reader;

libfuzzer_sys::fuzz_target!(|input: &[u8]| kappa_fuzz::check(Reader::Npz, input));
