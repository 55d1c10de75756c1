"""Tell PyInstaller that tqdm's bars need no notebook, pandas or matplotlib.

A program that shows bars in a notebook, or uses tqdm with these packages, imports them itself.
"""

excludedimports = ["IPython", "dask", "ipywidgets", "matplotlib", "pandas", "rich"]
