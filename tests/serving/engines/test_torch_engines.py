# ruff: noqa: PLC0415 - torch and skimage take seconds to import, and are needed only where slow tests run
from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from serving import images
from serving.artifact.manifest import parse
from serving.engines.process import ProcessEngine
from serving.errors import EngineError
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slow


def manifest_of(folder):
    return parse((folder / "manifest.json").read_bytes(), "m")


def loaded(folder, max_batch=4):
    from serving.engines import torch_engines

    engine = torch_engines.create(manifest_of(folder), folder, max_batch=max_batch)
    engine.load()
    return engine


@pytest.mark.parametrize("number", [0, 1])
def test_our_network_answers_as_the_reference_implementation(number):
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    from serving import models
    from serving.build import _checkpoint

    arch = f"efficientnet-lite{number}"
    checkpoint = _checkpoint(arch, None)
    theirs = EfficientNet.from_name(arch).eval()
    theirs.load_state_dict(checkpoint)
    ours = models.create(arch)
    ours.load_state_dict(models.efficientnet_lite.fold_checkpoint(checkpoint))
    size = models.ARCHITECTURES[arch].size
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        assert torch.allclose(ours(x), theirs(x), atol=1e-4)


def test_aotinductor_agrees_with_eager_on_photographs_at_every_batch_size(artifacts, photos):
    if "aoti" not in artifacts:
        pytest.skip("no C++ compiler: an AOTInductor package cannot be built")
    eager, aoti = loaded(artifacts["eager"]), loaded(artifacts["aoti"])
    pre = manifest_of(artifacts["eager"]).preprocess
    rows = [images.decode(images.open_header(f, max_pixels=10**7), pre) for f in photos.values()]
    rows.append(rows[0][:, ::-1].copy())
    for n in range(1, 5):
        assert np.allclose(aoti.run(rows[:n]), eager.run(rows[:n]), atol=1e-4)
    # Channels-last strides: the raw package would answer garbage.
    strided = np.ascontiguousarray(np.stack(rows).transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert np.allclose(aoti.run(strided), eager.run(rows), atol=1e-4)
    eager.close()
    aoti.close()


def test_an_engine_in_a_process_answers_as_one_in_ours(artifacts):
    from serving.engines.verify import reference_input

    folder = artifacts["eager"]
    engine = ProcessEngine(manifest_of(folder), folder, threads=1, max_batch=2, load_timeout=PATIENCE)
    engine.load()
    try:
        batch = reference_input(2, (3, 224, 224))
        assert np.allclose(engine.run(list(batch)), loaded(folder).run(batch), atol=1e-4)
        with pytest.raises(EngineError, match="float64"):
            engine.run([batch[0].astype(np.float64)])
        assert engine.alive()
    finally:
        engine.close()
    assert not engine.alive()


def test_a_package_for_another_torch_is_refused_before_it_is_loaded(artifacts):
    if "aoti" not in artifacts:
        pytest.skip("no C++ compiler: an AOTInductor package cannot be built")
    folder = artifacts["aoti"]
    value = json.loads((folder / "manifest.json").read_text())
    value["built_for"]["torch"] = "2.12.0"
    engine = ProcessEngine(
        parse(json.dumps(value).encode(), "m"), folder, threads=1, max_batch=1, load_timeout=PATIENCE
    )
    try:
        with pytest.raises(EngineError, match=r"model.pt2: compiled with torch 2\.12\.0"):
            engine.load()
    finally:
        engine.close()


def test_weights_of_another_network_are_refused(artifacts, tmp_path):
    import torch
    from safetensors.torch import save_file

    from serving.engines.base import Shape
    from serving.engines.torch_engines import EagerEngine

    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(EngineError, match=r"w\.safetensors: .*Missing key"):
        EagerEngine("efficientnet-lite0", tmp_path / "w.safetensors", Shape((3, 224, 224), 1000, 1)).load()


def test_a_pickle_in_the_place_of_weights_is_not_executed(tmp_path):
    import torch

    from serving.engines.base import Shape
    from serving.engines.torch_engines import EagerEngine

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    torch.save({"x": Evil()}, tmp_path / "w.safetensors")
    with pytest.raises(EngineError, match=r"w\.safetensors"):
        EagerEngine("efficientnet-lite0", tmp_path / "w.safetensors", Shape((3, 224, 224), 1000, 1)).load()
    from serving.build import BuildError, _checkpoint

    with pytest.raises(BuildError):
        _checkpoint("efficientnet-lite0", tmp_path / "w.safetensors")
    assert not (tmp_path / "executed").exists()


def test_a_package_that_writes_outside_its_folder_is_refused(tmp_path):
    from serving.engines.torch_engines import unpack

    with zipfile.ZipFile(tmp_path / "x.pt2", "w") as archive:
        archive.writestr("../evil", "x")
    (tmp_path / "here").mkdir()
    with pytest.raises(EngineError, match="leads out"):
        unpack(tmp_path / "x.pt2", tmp_path / "here")
