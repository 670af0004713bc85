import inspect

from star_jax.config import rules, schema, validation


def test_every_rule_compares_settings_that_exist_and_the_defaults_keep_it():
    values = validation.to_dict(validation.Settings())
    for rule in (*rules.RULES, *rules.MADE_RULES):
        used = []
        for path in rule.paths:
            assert path in schema.SETTINGS, path
            section, _, name = path.rpartition(".")
            used.append((values[section] if section else values)[name])
        assert rule.holds(*used), rule.paths
        assert len(rule.paths) > 1 or rule in rules.MADE_RULES


def test_a_rule_between_settings_names_both():
    """The message has the second setting's path, or its value in a phrase with its name."""
    for rule in rules.RULES:
        others = [path for path in rule.paths[1:] if path not in ("task.name", "task.module")]
        named = [
            path for path in others if path in rule.must or path.rpartition(".")[2] in rule.must
        ]
        assert named or not others or rule.paths[0] in ("task.data",), rule.must


def test_what_a_rule_takes_is_what_it_names():
    for rule in (*rules.RULES, *rules.MADE_RULES):
        kinds = [p.kind for p in inspect.signature(rule.holds).parameters.values()]
        plain = [k for k in kinds if k is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        assert inspect.Parameter.VAR_POSITIONAL in kinds or len(plain) >= len(rule.paths)
