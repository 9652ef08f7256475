"""One file per kind of diffusion transformer; every `Family` that one of these modules holds is known (`registry`)."""
