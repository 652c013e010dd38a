/* Check the field lines of a head, and find those that something is read from (RFC 9112 section 5).

   The same as pagent.http1.scan.scan_in_python, which has the description. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

/* Classes of bytes: of a token (RFC 9110 5.6.2), and of a value (5.5). */
#define TOKEN 1
#define TEXT 2

static unsigned char CLASS[256];

/* Add (start, colon, end) to a list. */
static int
add_place(PyObject *found, Py_ssize_t start, Py_ssize_t colon, Py_ssize_t end)
{
    PyObject *place = Py_BuildValue("(nnn)", start, colon, end);
    int failed = place == NULL || PyList_Append(found, place) < 0;

    Py_XDECREF(place);
    return failed;
}

PyDoc_STRVAR(scan_doc,
"scan(block, at, watched) -> (number of lines, [(start, colon, end), ...])\n\n"
"ValueError if a line is not valid.");

static PyObject *
scan(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 3 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[2]) || PyBytes_GET_SIZE(args[2]) != 1024) {
        PyErr_SetString(PyExc_TypeError, "scan(bytes, int, table of 1024 bytes)");
        return NULL;
    }
    const unsigned char *p = (const unsigned char *)PyBytes_AS_STRING(args[0]);
    const char *watched = PyBytes_AS_STRING(args[2]);
    Py_ssize_t length = PyBytes_GET_SIZE(args[0]), at = PyLong_AsSsize_t(args[1]), lines = 0;

    if (at == -1 && PyErr_Occurred())
        return NULL;
    PyObject *found = PyList_New(0);
    if (found == NULL)
        return NULL;
    while (at >= 0 && at < length) {
        Py_ssize_t start = at, colon;
        while (CLASS[p[at]] & TOKEN) /* ends at the zero after the block at the latest */
            at++;
        colon = at;
        if (colon == start || p[at++] != ':')
            goto fault;
        while (CLASS[p[at]] & TEXT)
            at++;
        if (p[at] != '\r' || p[at + 1] != '\n' || at + 2 > length)
            goto fault;
        if (watched[((colon - start) & 31) << 5 | (p[start] & 31)] && add_place(found, start, colon, at)) {
            Py_DECREF(found);
            return NULL;
        }
        at += 2;
        lines++;
    }
    return Py_BuildValue("(nN)", lines, found);

fault:
    Py_DECREF(found);
    PyErr_SetString(PyExc_ValueError, "a field line is not valid");
    return NULL;
}

static PyMethodDef methods[] = {
    {"scan", (PyCFunction)(void (*)(void))scan, METH_FASTCALL, scan_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_scan", "The field lines of heads.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__scan(void)
{
    for (int c = 0; c < 256; c++) {
        int token = c < 128 && c && (Py_ISALNUM(c) || strchr("!#$%&'*+-.^_`|~", c));
        int text = c == '\t' || (c >= ' ' && c != 0x7F);
        CLASS[c] = (unsigned char)((token ? TOKEN : 0) | (text ? TEXT : 0));
    }
    return PyModule_Create(&definition);
}
