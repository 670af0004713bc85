from star_jax import star_step
from star_jax.star import fused_step


def test_the_short_name_is_the_fused_step():
    assert star_step.star_step is fused_step.star_step
    for name in star_step.__all__:
        assert getattr(star_step, name) is getattr(fused_step, name)
