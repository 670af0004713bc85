from star_jax.inference.stop_rule import StopRule, make_stop_rule


def test_make_stop_pads_the_vocabulary_with_nothing():
    stop = make_stop_rule((1,), "é", [b"", b"", b"a", b"\xc3\xa9"], 6)
    assert stop.text == b"\xc3\xa9" and stop.token_bytes.count == 4
    assert stop.token_bytes.lengths.tolist() == [0, 0, 1, 2, 0, 0]
    assert stop.token_bytes.table.tolist() == [
        [0, 0],
        [0, 0],
        [97, 0],
        [0xC3, 0xA9],
        [0, 0],
        [0, 0],
    ]
    assert isinstance(stop, StopRule)
