"""What a study writes: its rows, files, folders, and the checks of what somebody else may have written.

Below the study's own parts, for a manifest is read without its study.
"""
