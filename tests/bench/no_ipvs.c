/* Lets keepalived believe that there is IPVS, and that it obeys: so that its checks run where there
 * is none. By LD_PRELOAD; only for measurements. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define FIRST (64 + 1024 + 64) /* IP_VS_BASE_CTL of linux/ip_vs.h */
#define IS_IPVS(level, name) ((level) == IPPROTO_IP && (name) >= FIRST && (name) < FIRST + 64)
#define VERSION 0x010201

int genl_ctrl_resolve(void *socket, const char *name)
{
	(void)socket;
	(void)name;
	return -1; /* no netlink, then: keepalived falls back to the calls below */
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
	static int (*real)(int, int, int, void *, socklen_t *);

	if (IS_IPVS(level, name)) {
		memset(value, 0, *size);
		if (*size >= sizeof(unsigned int))
			*(unsigned int *)value = VERSION;
		return 0;
	}
	if (!real)
		real = dlsym(RTLD_NEXT, "getsockopt");
	return real(fd, level, name, value, size);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
	static int (*real)(int, int, int, const void *, socklen_t);

	if (IS_IPVS(level, name))
		return 0;
	if (!real)
		real = dlsym(RTLD_NEXT, "setsockopt");
	return real(fd, level, name, value, size);
}
