"""Of a model that no sweep registered nothing is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mlflow
import pytest

from data.errors import UserError
from infra.models.predict import load_registered

LOADER = """
from pathlib import Path

def _load_pyfunc(path):
    Path(path).with_name("was_run").touch()
"""


@pytest.mark.parametrize("metadata", [None, {"config": {"fusion": {"name": "gru"}}}])
def test_foreign_code_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: dict[str, Any] | None
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    module, content, model = tmp_path / "foreign_loader.py", tmp_path / "content", tmp_path / "model"
    module.write_text(LOADER)
    content.write_text("")
    mlflow.pyfunc.save_model(
        model,
        loader_module=module.stem,
        data_path=str(content),
        code_paths=[str(module)],
        metadata=metadata,
        pip_requirements=[],
    )
    client = mlflow.MlflowClient()
    client.create_registered_model("foreign")
    client.create_model_version("foreign", model.as_uri())
    client.set_registered_model_alias("foreign", "champion", "1")
    for uri in ("models:/foreign/1", "models:/foreign@champion"):
        with pytest.raises(UserError, match=f"^{uri} is no model that a sweep registered: "):
            load_registered(uri)
    for uri in (str(model), model.as_uri(), "models:/foreign", "runs:/1/model"):
        with pytest.raises(UserError, match=rf"^{re.escape(repr(uri))}: write models:/<name>@<alias> or"):
            load_registered(uri)
    assert not list(tmp_path.rglob("was_run"))
