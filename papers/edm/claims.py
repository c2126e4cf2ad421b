"""What EDM claims, as numbers with criteria, by what is claimed about: sampling, training, churn.

The criteria were written before the runs that are reported. Pilots, on other seeds or earlier code, changed how some
experiments measure; where a criterion, a quantity or a setting was settled after numbers had been seen, the claim's
deviation says so. A measure takes the run table of one experiment and gives one value per seed, so that configurations
are always compared on the same seed. These modules import nothing heavy, because the card does not.
"""

from papers.edm.claims_sampling import SAMPLING_CLAIMS
from papers.edm.claims_stochastic import STOCHASTIC_CLAIMS
from papers.edm.claims_training import TRAINING_CLAIMS

CLAIMS = (*SAMPLING_CLAIMS, *TRAINING_CLAIMS, *STOCHASTIC_CLAIMS)
