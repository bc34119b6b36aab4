"""What holds for all tests: no property fails for taking long, since the machine may be busy with something else."""

from hypothesis import settings

settings.register_profile("patient", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("patient")
