"""What a model's `Reconstruction` must hold, and what a plug-in model reads when it does not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.interfaces import Reconstruction

LOGITS = torch.zeros(2, 1, 4, 4)


def test_the_total_is_the_sum_of_all_terms_with_the_reconstruction_loss_first() -> None:
    result = Reconstruction(LOGITS, torch.tensor(0.5), {"kl": torch.tensor(0.25), "adversarial": torch.tensor(1.0)})
    assert list(result.named_losses) == ["recon", "kl", "adversarial"]
    assert float(result.total_loss) == 1.75


def test_a_missing_reconstruction_loss_is_refused_in_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"has no reconstruction_loss\. Return Reconstruction\(logits, "):
        Reconstruction(LOGITS)


@pytest.mark.parametrize(
    ("loss", "found"),
    [(torch.zeros(2), r"a tensor of shape \[2\]"), ({"recon": torch.zeros(())}, "a dict"), (0.5, "a float"), (None, "a NoneType")],
)
def test_a_reconstruction_loss_that_is_no_scalar_tensor_is_refused(loss: object, found: str) -> None:
    with pytest.raises(ConfigError, match=f"The reconstruction_loss of .* must be a scalar tensor, not {found}."):
        Reconstruction(LOGITS, loss)  # type: ignore[arg-type]


@pytest.mark.parametrize("losses", [{"kl": torch.zeros(2)}, {"recon": torch.zeros(())}])
def test_other_losses_are_scalars_and_have_other_names(losses: dict[str, Tensor]) -> None:
    with pytest.raises(ConfigError, match=r"losses\['kl'\] of .* must be a scalar|include 'recon'"):
        Reconstruction(LOGITS, torch.zeros(()), losses)
