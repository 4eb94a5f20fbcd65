"""QuakeML from other people: what is taken of an event, and what is refused."""

from __future__ import annotations

import sys

import pytest

from groundswell.core.errors import InputError, MissingExtraError
from groundswell.data.quakeml import children, facts_of, parse_events, preferred, text_at

QUAKEML = b"""<?xml version="1.0" encoding="UTF-8"?>
<q:quakeml xmlns:q="http://quakeml.org/xmlns/quakeml/1.2" xmlns="http://quakeml.org/xmlns/bed/1.2">
<eventParameters publicID="smi:a/p">
<event publicID="smi:a/e1"><preferredOriginID>o2</preferredOriginID><preferredMagnitudeID>gone</preferredMagnitudeID>
<type>earthquake</type><origin publicID="o1"><time><value>2001-01-01T00:00:00</value></time></origin>
<origin publicID="o2"><time><value> 2010-02-03T04:05:06.5Z </value></time><latitude><value>35.5</value></latitude>
<longitude><value>200.0</value></longitude><depth><value>12000</value></depth></origin>
<magnitude publicID="m1"><mag><value>6.1</value></mag></magnitude>
<magnitude publicID="m2"><mag><value>6.3</value></mag></magnitude></event>
<event publicID="smi:a/e2"><type>quarry blast</type></event></eventParameters></q:quakeml>"""


def events(data):
    pytest.importorskip("defusedxml")
    return parse_events(data, where="c.xml", extra="das")


def test_the_preferred_origin_and_else_the_first_are_taken():
    one, two = events(QUAKEML)
    assert facts_of(one) == {"event_id": "e1", "time": "2010-02-03T04:05:06.5Z", "latitude": "35.5",
                             "longitude": "200.0", "depth_m": "12000", "magnitude": "6.1", "kind": "earthquake"}
    assert facts_of(two) == {"event_id": "e2", "kind": "quarry blast", "time": "", "latitude": "", "longitude": "",
                             "depth_m": "", "magnitude": ""}
    assert preferred(two, "origin") is None and text_at(None, "time") == ""
    assert [c.get("publicID") for c in children(one, "origin")] == ["o1", "o2"]


def test_the_namespace_does_not_matter():
    plain = QUAKEML.replace(b' xmlns="http://quakeml.org/xmlns/bed/1.2"', b"")
    assert [facts_of(e) for e in events(plain)] == [facts_of(e) for e in events(QUAKEML)]


@pytest.mark.parametrize(("data", "message"), [
    (b'<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><quakeml>&b;</quakeml>', "safely: it declares entities"),
    (b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><quakeml>&a;</quakeml>', "safely"),
    (b"<quakeml>", "cannot be read as XML: .*line 1"), (b"", "cannot be read as XML"), (b"<html/>", "not QuakeML")])
def test_xml_that_is_dangerous_broken_or_something_else_is_refused(data, message):
    with pytest.raises(InputError, match=message) as caught:
        events(data)
    assert caught.value.where == "c.xml"


@pytest.mark.parametrize("extra", ["das", "geomag"])
def test_a_missing_parser_names_the_extra_of_whoever_asks(monkeypatch, extra):
    monkeypatch.setitem(sys.modules, "defusedxml.ElementTree", None)
    with pytest.raises(MissingExtraError, match=rf"'defusedxml'.*groundswell\[{extra}\]"):
        parse_events(QUAKEML, where="c.xml", extra=extra)


def test_an_encoding_that_nobody_knows_is_refused_in_words() -> None:
    with pytest.raises(InputError, match="cannot be read as XML"):
        parse_events(b'<?xml version="1.0" encoding="klingon"?><q/>', where="a.xml", extra="geomag")
