import grpc
import pytest
from google.cloud.aiplatform_v1 import types as aip
from google.protobuf import empty_pb2

from vertex_deploy.local.seams import ApiError

from .support import CALL, PARENT, ControlPlane, new_model, refused


async def versions(control, name):
    found = await control.models.list_model_versions(aip.ListModelVersionsRequest(name=name), CALL)
    return {model.version_id: list(model.version_aliases) for model in found.models}


async def get(control, name):
    return await control.models.get_model(aip.GetModelRequest(name=name), CALL)


async def test_the_first_version_is_the_default():
    control = ControlPlane()
    uploaded = await control.upload(model_id="m1")
    model = await get(control, f"{PARENT}/models/m1")
    assert uploaded.model_version_id == model.version_id == "1"
    assert list(model.version_aliases) == ["default"]
    assert (
        model.name
        == uploaded.model
        == f"projects/{control.registry.projects.number('my-project')}" + PARENT[19:] + "/models/m1"
    )


async def test_a_new_version_is_the_default_only_if_it_asks():
    control = ControlPlane()
    name = (await control.upload()).model
    await control.upload(parent_model=name, model=new_model(version_aliases=["candidate"]))
    assert (await get(control, name)).version_id == "1"
    assert (await get(control, f"{name}@candidate")).version_id == "2"
    await control.upload(parent_model=name, model=new_model(version_aliases=["default"]))
    assert await versions(control, name) == {"1": [], "2": ["candidate"], "3": ["default"]}


async def test_aliases_move_and_are_removed():
    control = ControlPlane()
    name = (await control.upload()).model
    await control.upload(parent_model=name)

    async def merge(version, *aliases):
        request = aip.MergeVersionAliasesRequest(name=f"{name}@{version}", version_aliases=aliases)
        return await control.models.merge_version_aliases(request, CALL)

    await merge("2", "live", "default")
    assert await versions(control, name) == {"1": [], "2": ["live", "default"]}
    await merge("1", "live")
    await merge("1", "-live", "old")
    assert await versions(control, name) == {"1": ["old"], "2": ["default"]}
    with pytest.raises(ApiError, match="default"):
        await merge("2", "-default")


async def test_ids_and_parents_are_checked():
    control = ControlPlane()
    await control.upload(model_id="m1")
    with pytest.raises(ApiError) as found:
        await control.upload(model_id="m1")
    assert refused(found)[0] is grpc.StatusCode.ALREADY_EXISTS
    with pytest.raises(ApiError) as found:
        await control.upload(parent_model=f"{PARENT}/models/none")
    assert refused(found)[0] is grpc.StatusCode.NOT_FOUND
    with pytest.raises(ApiError, match="model_id"):
        await control.upload(model_id="Not Valid")


async def test_artifacts_are_copied_for_each_version_and_deleted_with_it():
    control = ControlPlane()
    control.blobs.objects = {"gs://mine/m/1/weights"}
    name = (await control.upload(model=new_model(artifact_uri="gs://mine/m/1/"))).model
    copy = control.models.managed_artifacts(await get(control, name))
    assert copy.startswith("gs://")
    assert f"{copy}/weights" in control.blobs.objects
    assert (await get(control, name)).artifact_uri == "gs://mine/m/1/"
    operation = await control.models.delete_model(aip.DeleteModelRequest(name=name), CALL)
    await control.finish(operation, empty_pb2.Empty)
    assert control.blobs.objects == {"gs://mine/m/1/weights"}


async def test_an_upload_without_its_artifacts_fails_and_leaves_nothing():
    control = ControlPlane()
    request = aip.UploadModelRequest(parent=PARENT, model=new_model(artifact_uri="gs://mine/none"), model_id="m1")
    operation = await control.done(await control.models.upload_model(request, CALL))
    assert operation.done
    assert operation.error.message == 'There are no files under "gs://mine/none" to copy.'
    with pytest.raises(ApiError) as found:
        await get(control, f"{PARENT}/models/m1")
    assert refused(found)[0] is grpc.StatusCode.NOT_FOUND


async def test_a_deployed_model_cannot_be_deleted():
    control = ControlPlane()
    name, endpoint = (await control.upload()).model, (await control.endpoint()).name
    await control.deploy(endpoint, name)
    with pytest.raises(ApiError) as found:
        await control.models.delete_model(aip.DeleteModelRequest(name=name), CALL)
    assert refused(found) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        f'The Model "{name}" is deployed or being deployed at the following Endpoint(s): {endpoint}.',
    )
    assert [ref.endpoint for ref in (await get(control, name)).deployed_models] == [endpoint]


async def test_the_default_version_cannot_be_deleted_but_others_can():
    control = ControlPlane()
    name = (await control.upload()).model
    await control.upload(parent_model=name)
    with pytest.raises(ApiError, match="default version"):
        await control.models.delete_model_version(aip.DeleteModelVersionRequest(name=f"{name}@1"), CALL)
    operation = await control.models.delete_model_version(aip.DeleteModelVersionRequest(name=f"{name}@2"), CALL)
    await control.finish(operation, empty_pb2.Empty)
    assert await versions(control, name) == {"1": ["default"]}


async def test_updates_follow_the_mask_and_the_etag():
    control = ControlPlane()
    model = await get(control, (await control.upload()).model)
    model.description, model.display_name = "new", "ignored"
    request = aip.UpdateModelRequest(model=model, update_mask={"paths": ["description"]})
    updated = await control.models.update_model(request, CALL)
    assert (updated.description, updated.display_name) == ("new", "m")
    with pytest.raises(ApiError) as found:  # the etag of before
        await control.models.update_model(request, CALL)
    assert refused(found)[0] is grpc.StatusCode.ABORTED


async def test_fields_of_the_model_and_of_a_version_are_changed_by_requests_of_their_own():
    control = ControlPlane()
    name = (await control.upload()).model
    await control.upload(parent_model=name)

    async def change(of, *paths, **fields):
        request = aip.UpdateModelRequest(model=aip.Model(name=of, **fields), update_mask={"paths": paths})
        return await control.models.update_model(request, CALL)

    await change(name, "display_name", "description", display_name="shop", description="d")
    await change(f"{name}@-", "description", description="all of them")
    await change(f"{name}@2", "version_description", version_description="v")
    found = [await get(control, f"{name}@{version}") for version in "12"]
    assert [(m.display_name, m.description) for m in found] == [("shop", "all of them")] * 2
    assert [m.version_description for m in found] == ["", "v"]
    for of, path in ((f"{name}@2", "description"), (f"{name}@2", "display_name"), (name, "version_description")):
        with pytest.raises(ApiError, match=path) as wrong:
            await change(of, path, **{path: "x"})
        assert refused(wrong)[0] is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_model_and_its_versions_have_labels_of_their_own_that_are_told_merged():
    control = ControlPlane()
    name = (await control.upload(model=new_model(labels={"a": "1"}))).model
    await control.upload(parent_model=name, model=new_model(labels={"b": "1"}))

    async def label(of, *paths, **labels):
        request = aip.UpdateModelRequest(model=aip.Model(name=of, labels=labels), update_mask={"paths": paths})
        return dict((await control.models.update_model(request, CALL)).labels)

    async def told(version):
        return dict((await get(control, f"{name}@{version}")).labels)

    assert await label(name, "labels", a="model", c="3") == {"a": "1", "c": "3"}
    assert await told(2) == {"a": "model", "b": "1", "c": "3"}
    assert await label(f"{name}@2", "labels", d="4") == {"a": "model", "c": "3", "d": "4"}
    assert await told(1) == {"a": "1", "c": "3"}
    assert await label(f"{name}@-", "labels.c") == {"a": "1"}
    listed = await control.models.list_model_versions(
        aip.ListModelVersionsRequest(name=name, filter="labels.a=model"), CALL
    )
    assert [model.version_id for model in listed.models] == ["2"]
    await control.finish(await control.models.delete_model(aip.DeleteModelRequest(name=name), CALL), empty_pb2.Empty)
    again = await control.upload(model_id=name.rpartition("/")[2])
    assert dict((await get(control, again.model)).labels) == {}


async def test_lists_show_default_versions_filtered_and_masked():
    control = ControlPlane()
    for name in ("a", "b"):
        uploaded = await control.upload(model=new_model(display_name=name, labels={"team": name}))
        await control.upload(parent_model=uploaded.model, model=new_model(display_name=name))
    request = aip.ListModelsRequest(parent=PARENT, filter="labels.team=b", read_mask={"paths": ["display_name"]})
    found = await control.models.list_models(request, CALL)
    assert found.models == [aip.Model(display_name="b")]


async def test_a_list_looks_for_deployments_of_its_page_alone(monkeypatch):
    control, asked = ControlPlane(), []
    for name in ("a", "b", "c"):
        await control.upload(model=new_model(display_name=name))
    deployments_of = control.registry.deployments_of
    monkeypatch.setattr(control.registry, "deployments_of", lambda *of: asked.append(of) or deployments_of(*of))
    request = aip.ListModelsRequest(parent=PARENT, page_size=1, order_by="display_name")
    (found,) = (await control.models.list_models(request, CALL)).models
    assert (found.display_name, [name for name, _ in asked]) == ("a", [found.name])


async def test_what_is_left_out_is_refused_by_name():
    control = ControlPlane()
    with pytest.raises(ApiError, match=r"model\.encryption_spec.*not supported by Local Vertex"):
        await control.upload(model=new_model(encryption_spec={"kms_key_name": "k"}))
