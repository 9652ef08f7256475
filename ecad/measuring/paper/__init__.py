"""Time on paper: what a schedule takes on a GPU that is not at hand, from the kernels that it would launch.

`devices` is light; `table` needs torch and diffusers.
"""
