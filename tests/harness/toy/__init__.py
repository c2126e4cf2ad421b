"""A paper that is none: experiments that take no time, sleep, raise, crash or fill the disk, to try the harness on."""
