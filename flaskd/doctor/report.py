"""What `flaskd doctor` prints: for people, or as JSON."""

import msgspec

from flaskd.doctor.examine import Examination


def as_json(found: Examination) -> str:
    """Write everything, for programs."""
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()


def as_text(found: Examination) -> str:
    """Write a paragraph for each finding, then what could not be seen."""
    paragraphs = [
        f"{each.severity.value}: {each.where} [{each.rule}]\n  {each.sentence}.\n  Next: {each.next}."
        for each in found.findings
    ]
    paragraphs += [f"not seen: {sentence}." for sentence in found.unseen]
    if not found.findings:
        paragraphs.append(f"Nothing found in {', '.join(found.looked_at) or 'what was given'}.")
    return "\n".join(paragraphs)
