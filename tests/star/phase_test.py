from star_jax.star import phase

ALL = [value for value in vars(phase).values() if isinstance(value, phase.Phase)]


def test_streams_and_names_are_those_that_runs_have_been_made_with():
    assert {one.name: one.stream for one in ALL} == {
        **{"samples": 0, "rationalized": 1, "evaluation": 2},
        **{"hinted": 3, "test": 4, "votes": 5},
    }


def test_what_a_round_trains_on_is_written_by_the_model_before_it():
    assert {one.name for one in ALL if one.previous_policy} == {"samples", "rationalized"}
    assert {one.name for one in ALL if one.hinted} == {"rationalized", "hinted"}
    assert {one.name for one in ALL if one.drawn} == {"samples", "rationalized", "votes"}
