"""What DSBM claims, as numbers with criteria."""

from common.harness.claims import Claim

CLAIMS: tuple[Claim, ...] = ()
