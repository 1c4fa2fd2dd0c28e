import timm

from src.compose import compose
from src.features.origin import weights_origin
from src.selection import parse


def model(*overrides: str):
    return compose(parse(list(overrides))).model


def test_random_weights_have_no_origin():
    assert weights_origin(model("model=baseline_cnn")) == {}
    assert weights_origin(model("model=resnet50d")) == {}


def test_weights_of_the_hub_have_the_licence_that_timms_record_states():
    found = weights_origin(model("model=convnextv2_atto", "model.pretrained=true"))
    record = timm.get_pretrained_cfg("convnextv2_atto")
    assert found == {"source": f"timm, convnextv2_atto.{record.tag}", "licence": record.license}
    assert "nc" in found["licence"]


def test_a_file_says_that_its_licence_is_only_that_of_timms_own_weights():
    found = weights_origin(model("model=resnet50d", "model.pretrained_path=some/where/mine.safetensors"))
    assert found["source"] == "a file, mine.safetensors"
    assert found["licence"] == timm.get_pretrained_cfg("resnet50d").license
    assert "the file states none" in found["note"]


def test_weights_of_another_run_name_it():
    assert weights_origin(model("model=resnet50d"), init_from="models/runs/a")["source"] == "the run models/runs/a"
