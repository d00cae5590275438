"""Problems that are planned."""

TWO = """
dimension = 6
[target]
separation = 1.5
[family]
components = 2
learn = ["means", "weights"]
[init]
scale = 0.5
samples = 5
[time]
end = 1.0
save = 3
"""
FIVE = """
dimension = 8
[target]
shape = "random"
modes = 5
separation = 2.0
[family]
components = 2
[init]
scale = 0.5
samples = 1
[time]
end = 0.1
save = 2
"""
SAMPLER = TWO.replace("end = 1.0\nsave = 3", "end = 0.0\nsave = [0.0]") + "[sampler]\nsteps = 4\npaths = 64\n"
