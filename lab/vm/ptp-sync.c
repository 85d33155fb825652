/*
 * ptp-sync send INTERFACE COUNT MILLISECONDS
 * ptp-sync receive INTERFACE COUNT
 *
 * Sends PTP Sync messages over Ethernet, and receives them with what stamps the kernel gives. The receiver prints
 * `SEQUENCE STAMP` for each, where a missing stamp is `-`, and ends with `frames F, stamped S`; after COUNT frames, or 3
 * seconds without one. The lab's check of the lab: it uses nothing of the library that is to be tested here.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/errqueue.h>
#include <linux/if_packet.h>
#include <linux/net_tstamp.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { ETHERTYPE_PTP = 0x88f7, SEQUENCE = ETH_HLEN + 30 };

static void die(const char *what) {
    fprintf(stderr, "ptp-sync: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int send_all(int fd, int count, int pause_ms) {
    /* The destination is PTP's multicast address; Sync is message 0 of version 2. */
    unsigned char frame[60] = {0x01, 0x1b, 0x19, 0, 0, 0, 0x02, 0x42, 0xac, 0xc8, 0x01, 0x61, 0x88, 0xf7, 0x00, 0x02};
    struct timespec pause = {pause_ms / 1000, pause_ms % 1000 * 1000000L};
    for (int i = 0; i < count; i++) {
        frame[SEQUENCE] = (unsigned char)(i >> 8);
        frame[SEQUENCE + 1] = (unsigned char)i;
        if (send(fd, frame, sizeof frame, 0) != sizeof frame) die("send");
        nanosleep(&pause, NULL);
    }
    return 0;
}

static int receive_all(int fd, int interface, int count) {
    struct timeval patience = {3, 0};
    int flags = SOF_TIMESTAMPING_RX_HARDWARE | SOF_TIMESTAMPING_RAW_HARDWARE;
    if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &flags, sizeof flags)) die("SO_TIMESTAMPING");
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience)) die("SO_RCVTIMEO");
    struct packet_mreq group = {interface, PACKET_MR_MULTICAST, ETH_ALEN, {0x01, 0x1b, 0x19}};
    if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &group, sizeof group)) die("PACKET_ADD_MEMBERSHIP");
    int frames = 0, stamped = 0;
    while (frames < count) {
        unsigned char frame[128] = {0};
        char control[512];
        struct iovec part = {frame, sizeof frame};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        if (recvmsg(fd, &message, 0) < 0) {
            if (errno == EAGAIN) break;
            die("recvmsg");
        }
        struct timespec stamp = {0, 0};
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
            struct scm_timestamping stamps;
            if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPING) continue;
            memcpy(&stamps, CMSG_DATA(c), sizeof stamps);
            stamp = stamps.ts[2];
        }
        frames++;
        printf("%d ", frame[SEQUENCE] << 8 | frame[SEQUENCE + 1]);
        if (stamp.tv_sec || stamp.tv_nsec) {
            stamped++;
            printf("%lld.%09ld\n", (long long)stamp.tv_sec, stamp.tv_nsec);
        } else {
            printf("-\n");
        }
    }
    printf("frames %d, stamped %d\n", frames, stamped);
    return 0;
}

int main(int argc, char **argv) {
    int sends = argc == 5 && !strcmp(argv[1], "send");
    if (!sends && !(argc == 4 && !strcmp(argv[1], "receive"))) {
        fprintf(stderr, "usage: ptp-sync send INTERFACE COUNT MILLISECONDS | receive INTERFACE COUNT\n");
        return 2;
    }
    int fd = socket(AF_PACKET, SOCK_RAW, 0);
    if (fd < 0) die("socket");
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons(ETHERTYPE_PTP),
                                  .sll_ifindex = (int)if_nametoindex(argv[2])};
    if (!address.sll_ifindex) die(argv[2]);
    if (bind(fd, (struct sockaddr *)&address, sizeof address)) die("bind");
    return sends ? send_all(fd, atoi(argv[3]), atoi(argv[4])) : receive_all(fd, address.sll_ifindex, atoi(argv[3]));
}
