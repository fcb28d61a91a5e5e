"""Programs for cores of digital CIM arrays."""
