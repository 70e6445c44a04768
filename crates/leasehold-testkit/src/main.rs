//! tmp
use leasehold_testkit::world::*;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let kind: Kind = args[1].parse().unwrap();
    let (a, b): (u64, u64) = (args[2].parse().unwrap(), args[3].parse().unwrap());
    let mut report = Report::default();
    for seed in a..b {
        if let Err(_f) = simulate(kind, seed, false, &mut report) {
            let f = simulate(kind, seed, true, &mut report).unwrap_err();
            for l in &f.trace {
                println!("{l}");
            }
            println!("seed {} {:?}", f.seed, f.broken);
            std::process::exit(1);
        }
    }
    println!("{report:?}");
}
