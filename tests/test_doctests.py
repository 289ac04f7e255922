"""The examples in docstrings run as they stand, print what they say, and no function lacks one."""

import doctest
import inspect
from importlib import import_module

import pytest

ROOMS = ("nlmeta.bilevel", "nlmeta.losses", "nlmeta.metrics", "nlmeta.noise")
PARSER = doctest.DocTestParser()


def public(room):
    """What a room hands out and explains, by name: functions and classes, and the room itself."""
    module = import_module(room)
    there = {name: getattr(module, name) for name in module.__all__}
    explained = {k: v for k, v in there.items() if inspect.isclass(v) or inspect.isfunction(v)}
    return {room: module, **explained}


def examples(thing):
    return PARSER.get_examples(thing.__doc__)


def failures(text):
    """What the examples in a text print where it is not what they say.

    They begin with no name defined, so each can be pasted into a session of the reader's own.
    """
    said: list[str] = []
    test = PARSER.get_doctest(text, {}, "example", None, 0)
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    return "".join(said)


@pytest.mark.parametrize("room", [*ROOMS, "nlmeta.methods"])
def test_examples_print_what_they_say(room):
    with_examples = {name: thing for name, thing in public(room).items() if examples(thing)}
    assert with_examples
    found = {name: failures(thing.__doc__) for name, thing in with_examples.items()}
    assert found == dict.fromkeys(with_examples, "")


@pytest.mark.parametrize("room", ROOMS)
def test_each_public_function_has_an_example_that_calls_it(room):
    functions = {name: thing for name, thing in public(room).items() if inspect.isfunction(thing)}
    assert len(functions) > 7  # the list is not empty
    for name, function in functions.items():
        source = "".join(example.source for example in examples(function))
        assert f"{room.partition('.')[2]}.{name}(" in source, name
        assert "\n    Examples\n    --------\n" in function.__doc__, name


@pytest.mark.parametrize(
    ("example", "complaint"),
    [
        (">>> 2 + 2\n4\n", ""),
        (">>> 2 + 2\n5\n", "Expected:\n    5\nGot:\n    4"),
        (">>> torch.ones(1)\ntensor([1.])\n", "NameError: name 'torch' is not defined"),
    ],
)
def test_a_wrong_example_is_told_from_a_right_one(example, complaint):
    found = failures(f"A text.\n\n{example}")
    assert complaint in found
    assert bool(found) == bool(complaint)
