/*
 * igb-rx-release RESOURCE0 [MESSAGE]: makes QEMU's igb stamp one received frame after the other.
 *
 * The card has one slot for the stamp of a received frame; while its valid bit is set, no other frame is stamped. A real
 * 82576 clears the bit when the driver reads the stamp's upper half, RXSTMPH. QEMU clears it when RXSATRH is read, which
 * the driver never does: only the first frame would get a stamp. So this reads RXSATRH, where RESOURCE0 is the card's
 * first region, /sys/class/net/.../device/resource0.
 *
 * Not too early: when the bit is clear at the time at which the driver looks, the frame has no stamp. A frame that comes
 * out of a socket with a stamp has been through the driver: that is the moment. A stamp that no socket shows (its frame
 * was dropped, or the interface is in another namespace) is released when it has been there for long.
 *
 * QEMU stamps messages of one PTP type: the one in TSYNCRXCFG, into which the driver writes 0, Sync. A real card in the
 * same mode stamps all event messages. With MESSAGE, that type is kept in the register.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <net/ethernet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    TSYNCRXCFG = 0x5f50,
    TSYNCRXCTL = 0xb620,
    RXSTMPL = 0xb624,
    RXSATRH = 0xb630,
    REGION = 0x20000,
};
enum { VALID = 1 << 0, ENABLED = 1 << 4 }; /* in TSYNCRXCTL */
enum { ETHERTYPE_PTP = 0x88f7, LOOK_MS = 20, ABANDONED_MS = 100 };

static volatile uint32_t *registers;

static uint32_t get(unsigned offset) { return registers[offset / 4]; }

static void release(void) { (void)get(RXSATRH); }

static void die(const char *what) {
    fprintf(stderr, "igb-rx-release: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Takes one frame; whether there was one, and whether it has a hardware stamp. */
static int take(int fd, int *stamped) {
    char frame[64], control[512];
    struct iovec part = {frame, sizeof frame};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    *stamped = 0;
    if (recvmsg(fd, &message, MSG_DONTWAIT) < 0) return 0; /* also when the interface went down: look again later */
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        struct scm_timestamping stamps;
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPING) continue;
        memcpy(&stamps, CMSG_DATA(c), sizeof stamps);
        *stamped = stamps.ts[2].tv_sec || stamps.ts[2].tv_nsec;
    }
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: igb-rx-release RESOURCE0 [MESSAGE]\n");
        return 2;
    }
    uint32_t config = argc == 3 ? (uint32_t)strtoul(argv[2], NULL, 0) << 8 : 0;

    int region = open(argv[1], O_RDWR | O_SYNC);
    if (region < 0) die(argv[1]);
    registers = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_SHARED, region, 0);
    if (registers == MAP_FAILED) die("mmap");

    /* Of this EtherType alone, and without software stamps: other sockets of the guest shall not notice. */
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETHERTYPE_PTP));
    if (fd < 0) die("socket");
    int flags = SOF_TIMESTAMPING_RX_HARDWARE | SOF_TIMESTAMPING_RAW_HARDWARE;
    if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags)) die("SO_TIMESTAMPING");

    uint32_t seen = 0;  /* the stamp that was in the slot at the last look, */
    int64_t since = -1; /* and since when */
    for (;;) {
        struct pollfd socket_ready = {fd, POLLIN, 0};
        poll(&socket_ready, 1, LOOK_MS);

        int stamped;
        while (take(fd, &stamped)) {
            if (!stamped) continue;
            release();
            since = -1;
        }

        uint32_t control = get(TSYNCRXCTL);
        if (argc == 3 && control & ENABLED && get(TSYNCRXCFG) != config) registers[TSYNCRXCFG / 4] = config;
        if (!(control & VALID)) {
            since = -1;
        } else if (since < 0 || get(RXSTMPL) != seen) {
            seen = get(RXSTMPL);
            since = now_ms();
        } else if (now_ms() - since >= ABANDONED_MS) {
            release();
            since = -1;
        }
    }
}
