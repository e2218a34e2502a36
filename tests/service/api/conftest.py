"""Reading rooms that run: a real server on a free port, its worker asked for when a test wants."""

import io
import socket
import threading
import time

import httpx
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from rooms import Room
from served import Served

from kirik.service.app import create_app
from kirik.service.core import open_core
from kirik.service.server import Server, config
from kirik.service.settings import ServiceSettings


@pytest.fixture
def make_room(make_bundle, tmp_path):
    """Opens rooms: make_room(**settings) → Room."""
    opened = []

    def make(rates=None, bundle=None, **said) -> Room:
        bundle = bundle or make_bundle()
        values = {"data": tmp_path / "data", "model": bundle.path, "database_url": None} | said
        core = open_core(ServiceSettings(**values))
        app = create_app(core=core, rates=rates)
        listening = socket.create_server(("127.0.0.1", 0))
        server = Server(config(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        room = Room(core, url, bundle.path, app)
        opened.append((room, server, thread))
        return room

    yield make
    for room, server, thread in opened:
        for client in room.closing:
            client.close()
        server.should_exit = True
        thread.join(10)
        room.core.close()


@pytest.fixture
def room(make_room) -> Room:
    return make_room()


@pytest.fixture
def http(room) -> httpx.Client:
    """As the local user, while there is no account."""
    return room.http()


@pytest.fixture
def served(make_bundle, tmp_path):
    """`kirik serve`, not started yet."""
    one = Served(tmp_path / "data", make_bundle().path)
    yield one
    if one.process and one.process.poll() is None:
        one.kill()


@pytest.fixture
def dicom_file() -> bytes:
    """A radiograph of Ayşe Yılmaz's wrist, number Q4711."""
    rows = np.tile(np.linspace(0, 4000, 64).astype(np.uint16), (64, 1))
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SpecificCharacterSet = "ISO_IR 192"
    data.PatientName, data.PatientID = "Yılmaz^Ayşe", "Q4711"
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3.4"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    data.Modality, data.BodyPartExamined = "CR", "WRIST"
    data.PhotometricInterpretation, data.SamplesPerPixel = "MONOCHROME2", 1
    data.Rows, data.Columns = rows.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = rows.tobytes()
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()
