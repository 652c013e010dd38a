/* Decode and encode the most frequent frames of a link (RFC 6455 section 5.2): whole binary messages of one frame.

   Decoding stops before any other frame. pagent.wire.frames decodes every kind of frame, and reports faults. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define WHOLE_BINARY 0x82
#define MASKED 0x80
#define KEY_BYTES 4

static PyObject *BINARY; /* the opcode */

/* Payload and key are XORed 8 bytes at a time; the compiler makes wider operations of it. */
static void
unmask(unsigned char *to, const unsigned char *from, Py_ssize_t count, const unsigned char *key)
{
    uint64_t wide, word;
    Py_ssize_t at = 0;

    memcpy(&wide, key, KEY_BYTES);
    memcpy((unsigned char *)&wide + KEY_BYTES, key, KEY_BYTES);
    for (; at + 8 <= count; at += 8) {
        memcpy(&word, from + at, 8);
        word ^= wide;
        memcpy(to + at, &word, 8);
    }
    for (; at < count; at++)
        to[at] = from[at] ^ key[at & 3];
}

/* Return the length of the header of the frame at `p`, of which there are `left` bytes, and set the length of its
   payload; 0 for an incomplete header, or a frame of another kind. */
static Py_ssize_t
header(const unsigned char *p, Py_ssize_t left, int mask_bit, uint64_t *length)
{
    Py_ssize_t size = 2;

    if (left < 2 || p[0] != WHOLE_BINARY || (p[1] & MASKED) != mask_bit)
        return 0;
    *length = p[1] & 0x7F;
    if (*length == 126) {
        size = 4;
        if (left < size)
            return 0;
        *length = (uint64_t)p[2] << 8 | p[3];
        if (*length < 126)
            return 0;
    }
    else if (*length == 127) {
        size = 10;
        if (left < size)
            return 0;
        *length = 0;
        for (int at = 2; at < 10; at++)
            *length = *length << 8 | p[at];
        if (*length < 0x10000)
            return 0;
    }
    return size + (mask_bit ? KEY_BYTES : 0);
}

PyDoc_STRVAR(whole_frames_doc,
"whole_frames(data, masked, longest, views_from, most, messages) -> int\n\n"
"Append (BINARY, payload) to messages for each frame at the start of data; return how many bytes they take.\n"
"Payloads are bytes, but from views_from bytes on (0: none) views of data, which must be writable, unmasked in place.\n"
"Stop before a frame of another kind, an incomplete one, one of more than longest bytes, and once there are\n"
"most messages.");

static PyObject *
whole_frames(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    Py_buffer buffer;
    Py_ssize_t at = 0;

    if (nargs != 6 || !PyList_Check(args[5])) {
        PyErr_SetString(PyExc_TypeError, "whole_frames(data, masked, longest, views_from, most, messages: list)");
        return NULL;
    }
    int masked = PyObject_IsTrue(args[1]);
    Py_ssize_t longest = PyLong_AsSsize_t(args[2]);
    Py_ssize_t views_from = PyLong_AsSsize_t(args[3]);
    Py_ssize_t most = PyLong_AsSsize_t(args[4]);
    if (masked < 0 || PyErr_Occurred())
        return NULL;
    if (PyObject_GetBuffer(args[0], &buffer, views_from ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0)
        return NULL;

    unsigned char *data = buffer.buf;
    while (PyList_GET_SIZE(args[5]) < most) {
        uint64_t length;
        Py_ssize_t start = header(data + at, buffer.len - at, masked ? MASKED : 0, &length);
        if (!start || length > (uint64_t)longest || buffer.len - at < start
            || length > (uint64_t)(buffer.len - at - start))
            break;
        start += at;
        Py_ssize_t stop = start + (Py_ssize_t)length;

        PyObject *payload;
        if (views_from && stop - start >= views_from) {
            if (masked)
                unmask(data + start, data + start, stop - start, data + start - KEY_BYTES);
            payload = PySequence_GetSlice(args[0], start, stop);
        }
        else {
            payload = PyBytes_FromStringAndSize(NULL, stop - start);
            if (payload && masked)
                unmask((unsigned char *)PyBytes_AS_STRING(payload), data + start, stop - start,
                       data + start - KEY_BYTES);
            else if (payload)
                memcpy(PyBytes_AS_STRING(payload), data + start, stop - start);
        }
        PyObject *message = payload ? PyTuple_Pack(2, BINARY, payload) : NULL;
        Py_XDECREF(payload);
        int failed = !message || PyList_Append(args[5], message) < 0;
        Py_XDECREF(message);
        if (failed) {
            PyBuffer_Release(&buffer);
            return NULL;
        }
        at = stop;
    }
    PyBuffer_Release(&buffer);
    return PyLong_FromSsize_t(at);
}

/* The bytes of any object. For bytes objects, the buffer protocol would be the larger part of the work. */
typedef struct {
    const char *data;
    Py_ssize_t length;
    Py_buffer buffer;
    int held;
} Part;

static int
get_part(PyObject *object, Part *part)
{
    part->held = !PyBytes_CheckExact(object);
    if (part->held) {
        if (PyObject_GetBuffer(object, &part->buffer, PyBUF_SIMPLE) < 0)
            return -1;
        part->data = part->buffer.buf;
        part->length = part->buffer.len;
    }
    else {
        part->data = PyBytes_AS_STRING(object);
        part->length = PyBytes_GET_SIZE(object);
    }
    return 0;
}

static void
release_part(Part *part)
{
    if (part->held)
        PyBuffer_Release(&part->buffer);
}

/* Write the header of a final frame, and return its length. */
static Py_ssize_t
write_header(unsigned char *to, long opcode, int mask_bit, uint64_t length)
{
    Py_ssize_t size = length < 126 ? 2 : length < 0x10000 ? 4 : 10;

    to[0] = (unsigned char)(0x80 | opcode);
    to[1] = (unsigned char)(mask_bit | (size == 2 ? (int)length : size == 4 ? 126 : 127));
    for (Py_ssize_t at = size - 1; at > 1; at--, length >>= 8)
        to[at] = (unsigned char)length;
    return size;
}

PyDoc_STRVAR(binary_frame_doc,
"binary_frame(head, rest) -> bytes\n\n"
"Return an unmasked frame of a binary message in two parts.");

static PyObject *
binary_frame(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    Part head, rest;

    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "binary_frame(head, rest)");
        return NULL;
    }
    if (get_part(args[0], &head) < 0)
        return NULL;
    if (get_part(args[1], &rest) < 0) {
        release_part(&head);
        return NULL;
    }
    unsigned char header[10];
    Py_ssize_t length = head.length + rest.length, size = write_header(header, 2, 0, (uint64_t)length);
    PyObject *frame = PyBytes_FromStringAndSize(NULL, size + length);
    if (frame) {
        char *to = PyBytes_AS_STRING(frame);
        memcpy(to, header, size);
        memcpy(to + size, head.data, head.length);
        memcpy(to + size + head.length, rest.data, rest.length);
    }
    release_part(&head);
    release_part(&rest);
    return frame;
}

PyDoc_STRVAR(binary_head_doc,
"binary_head(head, rest) -> bytes\n\n"
"Return what comes before rest in an unmasked frame of a binary message in two parts.");

static PyObject *
binary_head(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    Part head;

    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "binary_head(head, rest)");
        return NULL;
    }
    Py_ssize_t rest = PyObject_Length(args[1]);
    if (rest < 0 || get_part(args[0], &head) < 0)
        return NULL;
    unsigned char header[10];
    Py_ssize_t size = write_header(header, 2, 0, (uint64_t)(head.length + rest));
    PyObject *before = PyBytes_FromStringAndSize(NULL, size + head.length);
    if (before) {
        memcpy(PyBytes_AS_STRING(before), header, size);
        memcpy(PyBytes_AS_STRING(before) + size, head.data, head.length);
    }
    release_part(&head);
    return before;
}

PyDoc_STRVAR(masked_frame_doc,
"masked_frame(opcode, key, head, rest) -> bytes\n\n"
"Return a frame of a message in two parts, masked with the four bytes of key.");

static PyObject *
masked_frame(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    Part head, rest;
    unsigned char key[KEY_BYTES], turned[KEY_BYTES];

    if (nargs != 4 || !PyBytes_Check(args[1]) || PyBytes_GET_SIZE(args[1]) != KEY_BYTES) {
        PyErr_SetString(PyExc_TypeError, "masked_frame(opcode, key: four bytes, head, rest)");
        return NULL;
    }
    long opcode = PyLong_AsLong(args[0]);
    if (opcode == -1 && PyErr_Occurred())
        return NULL;
    if (get_part(args[2], &head) < 0)
        return NULL;
    if (get_part(args[3], &rest) < 0) {
        release_part(&head);
        return NULL;
    }
    unsigned char header[10];
    Py_ssize_t length = head.length + rest.length, size = write_header(header, opcode, MASKED, (uint64_t)length);
    PyObject *frame = PyBytes_FromStringAndSize(NULL, size + KEY_BYTES + length);
    if (frame) {
        unsigned char *to = (unsigned char *)PyBytes_AS_STRING(frame);
        memcpy(key, PyBytes_AS_STRING(args[1]), KEY_BYTES);
        for (int at = 0; at < KEY_BYTES; at++)
            turned[at] = key[(at + head.length) & 3];
        memcpy(to, header, size);
        memcpy(to + size, key, KEY_BYTES);
        to += size + KEY_BYTES;
        unmask(to, (const unsigned char *)head.data, head.length, key);
        unmask(to + head.length, (const unsigned char *)rest.data, rest.length, turned);
    }
    release_part(&head);
    release_part(&rest);
    return frame;
}

PyDoc_STRVAR(mask_doc,
"mask(key, data)\n\n"
"Mask or unmask the writable buffer data in place with the four bytes of key.");

static PyObject *
mask(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    Py_buffer data;

    if (nargs != 2 || !PyBytes_Check(args[0]) || PyBytes_GET_SIZE(args[0]) != KEY_BYTES) {
        PyErr_SetString(PyExc_TypeError, "mask(key: four bytes, data)");
        return NULL;
    }
    if (PyObject_GetBuffer(args[1], &data, PyBUF_WRITABLE) < 0)
        return NULL;
    unmask(data.buf, data.buf, data.len, (const unsigned char *)PyBytes_AS_STRING(args[0]));
    PyBuffer_Release(&data);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(views_doc,
"views(view: memoryview) -> int\n\n"
"Return how many views of the same buffer were made from view, itself included, and still exist.");

static PyObject *
views(PyObject *module, PyObject *view)
{
    if (!PyMemoryView_Check(view)) {
        PyErr_SetString(PyExc_TypeError, "views(view: memoryview)");
        return NULL;
    }
    return PyLong_FromSsize_t(((PyMemoryViewObject *)view)->mbuf->exports);
}

static PyMethodDef methods[] = {
    {"views", (PyCFunction)views, METH_O, views_doc},
    {"mask", (PyCFunction)(void (*)(void))mask, METH_FASTCALL, mask_doc},
    {"masked_frame", (PyCFunction)(void (*)(void))masked_frame, METH_FASTCALL, masked_frame_doc},
    {"binary_head", (PyCFunction)(void (*)(void))binary_head, METH_FASTCALL, binary_head_doc},
    {"binary_frame", (PyCFunction)(void (*)(void))binary_frame, METH_FASTCALL, binary_frame_doc},
    {"whole_frames", (PyCFunction)(void (*)(void))whole_frames, METH_FASTCALL, whole_frames_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_frames", "Whole binary WebSocket frames.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__frames(void)
{
    BINARY = PyLong_FromLong(2);
    return BINARY ? PyModule_Create(&definition) : NULL;
}
