"""A client of the messaging channel (docs/somc-protocol.md): the standard library, and one package for cryptography, `cryptography`.

It fetches an offering, proves its channel and pays. It reads a JSON object from standard input (host, port, agent, chainId, contract,
offering, channel, key, cumulative, used), so that the key is no argument, and writes what it was answered."""

import hashlib, hmac, json, socket, struct, sys

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

mac = lambda key, data: hmac.digest(key, data, "sha256")
unhex = lambda text: bytes.fromhex(text.removeprefix("0x"))

def keccak(data):
    state, data = [[0] * 5 for _ in range(5)], data + b"\x01" + bytes(-(len(data) + 1) % 136)
    data = data[:-1] + bytes([data[-1] | 0x80])
    rol = lambda value, by: (value << by | value >> (64 - by)) & (2**64 - 1)
    for start in range(0, len(data), 136):
        for i, (lane,) in enumerate(struct.iter_unpack("<Q", data[start : start + 136])):
            state[i % 5][i // 5] ^= lane
        lfsr = 1
        for _ in range(24):
            c = [column[0] ^ column[1] ^ column[2] ^ column[3] ^ column[4] for column in state]
            state = [[lane ^ c[x - 1] ^ rol(c[(x + 1) % 5], 1) for lane in state[x]] for x in range(5)]
            x, y, current = 1, 0, state[1][0]
            for t in range(24):
                x, y = y, (2 * x + 3 * y) % 5
                current, state[x][y] = state[x][y], rol(current, (t + 1) * (t + 2) // 2 % 64)
            state = [[state[x][y] ^ (~state[(x + 1) % 5][y] & state[(x + 2) % 5][y]) for y in range(5)] for x in range(5)]
            for j in range(7):
                lfsr = (lfsr << 1 ^ (lfsr >> 7) * 0x71) % 256
                state[0][0] ^= (lfsr >> 1 & 1) << (1 << j) - 1
    return struct.pack("<4Q", *(state[i][0] for i in range(4)))

P, N = 2**256 - 2**32 - 977, 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = 0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798, 0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8

def add(a, b):
    """Points of secp256k1; `None` is the one at infinity."""
    if a is None or b is None or (a[0] == b[0] and (a[1] + b[1]) % P == 0):
        return None if a and b else a or b
    slope = (3 * a[0] * a[0] * pow(2 * a[1], -1, P) if a == b else (b[1] - a[1]) * pow(b[0] - a[0], -1, P)) % P
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P

def multiply(point, by, result=None):
    while by:
        result, point, by = (add(result, point) if by & 1 else result), add(point, point), by >> 1
    return result

def sign(key, digest):
    """By RFC 6979, with s in the lower half and v."""
    secret, message, k, v = int.from_bytes(key), int.from_bytes(digest), bytes(32), b"\x01" * 32
    for separator in (b"\0", b"\1"):
        k = mac(k, v + separator + key + (message % N).to_bytes(32))
        v = mac(k, v)
    while True:
        v = mac(k, v)
        if 0 < (nonce := int.from_bytes(v)) < N:
            r, y = multiply(G, nonce)
            s = pow(nonce, -1, N) * (message + r * secret) % N
            if r < N and s:
                return r.to_bytes(32) + min(s, N - s).to_bytes(32) + bytes([27 + (y & 1 ^ (s > N // 2))])
        k = mac(k, v + b"\0")
        v = mac(k, v)

def signer(digest, signature):
    """The account that made a strict signature."""
    r, s, odd = int.from_bytes(signature[:32]), int.from_bytes(signature[32:64]), signature[64] - 27
    y = pow(r**3 + 7, (P + 1) // 4, P)
    assert 0 < r < N and 0 < s <= N // 2 and odd in (0, 1) and (y * y - r**3 - 7) % P == 0, "a strict signature"
    inverse = pow(r, -1, N)
    public = add(multiply((r, y if y & 1 == odd else P - y), s * inverse % N), multiply(G, -int.from_bytes(digest) * inverse % N))
    return keccak(public[0].to_bytes(32) + public[1].to_bytes(32))[12:]

def typed(domain, kind, *values):
    """EIP-712: the digest of values of a word each."""
    word = lambda value: value.rjust(32, b"\0") if isinstance(value, bytes) else value.to_bytes(32)
    struct_hash = lambda kind, values: keccak(keccak(kind.encode()) + b"".join(map(word, values)))
    separator = struct_hash("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)", domain)
    return keccak(b"\x19\x01" + separator + struct_hash(kind, values))

def hkdf(chain, secret):
    temporary = mac(chain, secret)
    first = mac(temporary, b"\1")
    return first, mac(temporary, first + b"\2")

class Session:
    KEY = "MessagingKey(address agent,bytes32 key,uint16 minVersion,uint16 maxVersion,uint64 issuedAt,uint64 expiresAt)"
    def __init__(self, host, port, agent, domain):
        self.stream, self.sent, self.received, self.asked, self.buffer = socket.create_connection((host, port), 30), 0, 0, 0, b""
        own, sha = X25519PrivateKey.generate(), lambda data: hashlib.sha256(data).digest()
        start = own.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw) + struct.pack(">HH", 2, 2) + agent
        head, chain = b"PVX2" + struct.pack(">H", len(start)), b"Noise_NX_25519_ChaChaPoly_SHA256"
        self.stream.sendall(head + start)
        answer, shared = self.sized(">H", self.exactly), lambda key: own.exchange(X25519PublicKey.from_public_bytes(key))
        name = sha(sha(sha(sha(chain + head) + start[:32]) + start[32:]) + answer[:32])
        chain, key = hkdf(chain, shared(answer[:32]))
        theirs, name = ChaCha20Poly1305(key).decrypt(bytes(12), answer[32:80], name), sha(name + answer[32:80])
        chain, key = hkdf(chain, shared(theirs))
        self.hello = json.loads(ChaCha20Poly1305(key).decrypt(bytes(12), answer[80:], name))["hello"]
        self.name, (self.writing, self.reading) = sha(name + answer[80:]), map(ChaCha20Poly1305, hkdf(chain, b""))
        word = self.hello["key"]
        values = theirs, word["versions"]["min"], word["versions"]["max"], word["issuedAt"], word["expiresAt"]
        # A complete client also takes the operator that the contract shows, and checks the times.
        assert signer(typed(domain, self.KEY, agent, *values), unhex(word["signature"])) == agent, "the agent's own key"

    def sized(self, form, read):
        return read(*struct.unpack(form, read(struct.calcsize(form))))

    def exactly(self, length):
        data = b""
        while len(data) < length:
            data += self.stream.recv(length - len(data)) or sys.exit("the agent closed the connection")
        return data

    def decrypted(self, length):
        while len(self.buffer) < length:
            self.buffer += self.reading.decrypt(struct.pack("<4xQ", self.received), self.sized(">H", self.exactly), None)
            self.received += 1
        data, self.buffer = self.buffer[:length], self.buffer[length:]
        return data

    def ask(self, method, **params):
        self.asked += 1
        body = json.dumps({"id": self.asked, "method": method, "params": params}).encode()
        sealed = self.writing.encrypt(struct.pack("<4xQ", self.sent), struct.pack(">I", len(body)) + body, None)
        self.stream.sendall(struct.pack(">H", len(sealed)) + sealed)
        self.sent += 1
        while "notice" in (said := json.loads(self.sized(">I", self.decrypted))):
            pass
        return said["ok"] if "ok" in said else sys.exit(json.dumps(said))

def main():
    given = json.load(sys.stdin)
    agent, contract, channel, key = (unhex(given[name]) for name in ("agent", "contract", "channel", "key"))
    domain = lambda name: (keccak(name), keccak(b"1"), given["chainId"], contract)
    signed = lambda name, kind, *values: "0x" + sign(key, typed(domain(name), kind, channel, *values)).hex()
    session = Session(given["host"], given["port"], agent, domain(b"Privatix Messaging"))
    offering = unhex(session.ask("offering", hash=given["offering"])["bytes"])
    assert keccak(offering) == unhex(given["offering"]), "the offering that was announced"
    proof = signed(b"Privatix Messaging", "Attach(bytes32 channel,bytes32 session)", session.name)
    before = session.ask("attach", channel=given["channel"], signature=proof)
    voucher = signed(b"EVM Payment Channel", "Voucher(bytes32 channelId,uint128 cumulativeAmount)", int(given["cumulative"]))
    paid = session.ask("pay", channel=given["channel"], cumulative=given["cumulative"], signature=voucher, used=given["used"])
    print(json.dumps({"service": json.loads(offering[:-65])["serviceName"], "before": before, "paid": paid}))

if __name__ == "__main__":
    main()
