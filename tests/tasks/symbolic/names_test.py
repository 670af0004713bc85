from star_jax.tasks.symbolic import names


def test_names_are_different_words_that_begin_with_a_capital():
    every = names.FIRST + names.LAST
    assert len(names.FIRST) > 190 < len(names.LAST) and len({*every}) == len(every)
    assert all(name.isascii() and name.isalpha() and name.istitle() for name in every)
