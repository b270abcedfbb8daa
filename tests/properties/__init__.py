"""What holds whatever comes, in any order; `HYPOTHESIS_PROFILE=long` looks further than a usual run."""
