"""CTM: "Consistency Trajectory Models: Learning Probability Flow ODE Trajectory of Diffusion" (Kim et al. 2023).

arXiv 2310.02279. A consistency model jumps from any noise level to the data; the score tells the direction of an
infinitely short jump. CTM learns every jump, from any t to any s, with one network g(x, t, s) that is the denoiser at
s = t and the consistency model at s = 0. It is learned from pieces of a teacher's trajectories, the score from data in
the same network, and a discriminator sharpens the ends. Jumps that do not overlap can then be chained: more steps do
not make samples worse, as they do where each jump goes to the data and noise is added anew.

    trajectory.py    Section 3.1: G and g, the score
    networks.py      networks that are told of two times
    times.py         Section 3.2: where a jump starts, turns and ends; soft, local and global matching
    teacher.py       pairs of states on one trajectory: by a teacher, by the student itself, or stored
    consistency.py   Section 3.2: estimate and target, the distances
    losses.py        Section 4.1: denoising score matching, and the adaptive weights
    adversarial.py   Section 4.1: discriminators on features, the hinge loss;  critic.py the classifier they read
    training.py      Algorithm 1;  resume.py its state, to stop and to go on
    sampling.py      Section 3.3: γ-sampling, guided jumps
    likelihood.py    Section 5.3: bits per dimension, as they are and as the official script has them
    exact.py         trajectories that are known
    published.py     the paper's own numbers
    studies/         one module for each question that is put to the paper

Time is the noise level: x_t = x0 + t ε, (B, *D), with the data at t = 0. Several students at once are (S, B, *D).
"""
