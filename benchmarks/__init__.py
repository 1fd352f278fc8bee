"""Speed, one file a claim.

    python -m benchmarks                     all of them
    python -m benchmarks extend read         some of them
    python -m benchmarks extend --save       also written to benchmarks/results/extend.md

`--data DIR` says where the files go: a folder is made there and removed again. It should be on the disk that is meant;
the default is the folder of the repository. Each claim is compared with its peer on the same input in the same run.
"""
