//! The end of a rank under loom: `cargo xtask loom`.

use aegis_hal::Error;
use loom::thread;

use super::*;
use crate::Tag;

fn message(number: u64) -> Message {
    Message { from: 0, to: 1, tag: Tag { channel: 0, number }, words: 1, reason: "model" }
}

#[test]
fn a_rank_has_ended_after_its_last_words_came() {
    loom::model(|| {
        let [sender, receiver] = Local::split(2).try_into().unwrap();
        let (promise, parcel) = Parcel::promise();
        let ends = thread::spawn(move || sender.send(&message(0), &parcel).unwrap());
        let keeps = thread::spawn(move || promise.keep(Ok(vec![7])));
        let [sent, unsent] = [0, 1].map(|number| receiver.receive(&message(number)).unwrap());
        ends.join().unwrap();
        keeps.join().unwrap();
        assert_eq!(sent.look().unwrap().as_deref(), Ok(&vec![7]));
        assert_eq!(unsent.look(), Some(Err(Error::Peer { rank: 0, fault: PeerFault::Gone })));
    });
}
