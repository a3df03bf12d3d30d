"""Ask for a report as Python programs do, and say what it is about: attest.py DATA."""

import sys
from pathlib import Path

ATTESTATION = Path("/dev/attestation")


def main() -> None:
    if not (ATTESTATION / "report").exists():
        sys.exit("not in an enclave: " + ", ".join(sorted(path.name for path in ATTESTATION.iterdir())))

    (ATTESTATION / "target_info").write_bytes((ATTESTATION / "my_target_info").read_bytes())
    (ATTESTATION / "user_report_data").write_bytes(sys.argv[1].encode())
    report = (ATTESTATION / "report").read_bytes()

    print(len(report), (ATTESTATION / "attestation_type").read_text())
    print(report[64:96].hex())
    print(report[320:384].rstrip(b"\0").decode())
    print(sorted(path.name for path in (ATTESTATION / "keys").iterdir()))
    print(len((ATTESTATION / "keys/_sgx_mrsigner").read_bytes()))
    try:
        (ATTESTATION / "user_report_data").write_bytes(bytes(65))
    except OSError as error:
        print(error.strerror)


if __name__ == "__main__":
    main()
