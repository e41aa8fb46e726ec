"""Steps and episodes are called what the task calls them."""

from distes.runs.monitors.glossary import GLOSSARY
from distes.runs.monitors.wording import header
from distes.runs.units import UNITS, Units

IMAGES = Units("image", "batch", "images", "batches")


def test_the_usual_words_change_nothing() -> None:
    assert all(UNITS.say(entry.text) == entry.text for entry in GLOSSARY.values())
    assert header() == header(units=UNITS) and "timesteps" in header() and "steps/s" in header()


def test_descriptions_have_the_words_of_the_task() -> None:
    assert (
        IMAGES.say(GLOSSARY["timesteps"].text)
        == "Images of all populations so far; those of the centre are not counted."
    )
    assert IMAGES.say(GLOSSARY["rate/episodes"].text) == "Batches per second of evaluation."
    assert IMAGES.say(GLOSSARY["eval/mean"].text).startswith("Mean fitness of the centre")


def test_names_of_metrics_and_keys_stay() -> None:
    assert IMAGES.say("see `episode/length` and `final_episodes`") == "see `episode/length` and `final_episodes`"
    assert "images/s" in header(units=IMAGES) and "timesteps" not in header(units=IMAGES)
